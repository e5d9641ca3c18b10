"""The network as a tl.models.Model of a class of its own."""

import tensorflow as tf
import tensorlayer as tl

from wrn3d.distributed.shards import current_sharding
from wrn3d.network.batch_norm import showing_nan
from wrn3d.network.on_shards import logits_on_shards
from wrn3d.network.spec import WideResNetSpec


class Network(tl.models.Model):
    """A static tl.models.Model of a spec, in one of PRECISIONS.

    Inside `Sharding.around` it computes each batch in shards.
    """

    spec: WideResNetSpec
    precision: str

    def forward(self, inputs: tf.Tensor) -> tf.Tensor:
        if sharding := current_sharding():
            training = self.all_layers[0].is_train  # TensorLayer keeps the mode in the layers
            return logits_on_shards(self, inputs, training, sharding)
        return showing_nan(super().forward, inputs)
