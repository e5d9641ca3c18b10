"""The network as a keras.Model of a class of its own."""

import functools
from collections.abc import Callable
from typing import Any

import keras

from wrn3d.distributed.shards import current_sharding
from wrn3d.network.batch_norm import showing_nan
from wrn3d.network.layers_keras import Cast, serializable
from wrn3d.network.on_shards import logits_on_shards
from wrn3d.network.spec import WideResNetSpec
from wrn3d.system.keras_settings import in_float32
from wrn3d.system.tensorflow_setup import check_process

COMPUTING = (
    *("__call__", "compile", "compute_metrics", "fit", "evaluate", "predict"),
    *("train_on_batch", "test_on_batch", "predict_on_batch"),
)


@serializable
class Network(keras.Model):
    """A keras.Model that computes in float32, or its layers' own precision, in its own process.

    Keras's process-wide settings of precision have no effect. In a fork of a process that runs
    TensorFlow, the methods in COMPUTING raise UsageError.
    """

    spec: WideResNetSpec | None = None  # None in a model that Keras has loaded or copied
    precision = "float32"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with in_float32():
            super().__init__(*args, **kwargs)

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Compute logits as any keras.Model does; inside `Sharding.around`, in shards."""
        if (sharding := current_sharding()) and self.spec:
            inputs = keras.ops.convert_to_tensor(inputs, self.inputs[0].dtype)
            return logits_on_shards(self, inputs, training, sharding)
        return showing_nan(super().call, inputs, training, mask)

    def compile_from_config(self, config: Any) -> None:
        """Compile as a saved model was; a class with a `compile` of its own has to do this."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Export as any keras.Model does, but in float32 unless `format` is "tf_saved_model".

        The other formats' runtimes have no convolution in bfloat16.
        """
        check_process()
        model = self if format == "tf_saved_model" else self._in_float32()
        super(Network, model).export(filepath, format, **kwargs)

    def _in_float32(self) -> "Network":
        """Return a copy that computes in float32, and has been called, as exporting needs."""

        def copied(layer: Any) -> Any:
            config = layer.get_config()
            return type(layer).from_config(
                config | ({"to": "float32"} if type(layer) is Cast else {})
            )

        model = keras.models.clone_model(self, clone_function=copied)
        model.set_weights(self.get_weights())
        model(keras.ops.zeros((1, *self.input_shape[1:])), training=False)
        return model


def _in_own_process(name: str) -> Callable:
    """Return keras.Model's method `name`, with what the class promises."""

    @functools.wraps(getattr(keras.Model, name))
    def method(self: Network, *args: Any, **kwargs: Any) -> Any:
        check_process()
        with in_float32():
            return getattr(super(Network, self), name)(*args, **kwargs)

    return method


for _name in COMPUTING:
    setattr(Network, _name, _in_own_process(_name))
