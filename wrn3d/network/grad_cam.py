"""Show where the network looks: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from wrn3d.data.resizing import resize_to
from wrn3d.network.folded import FoldedLayers
from wrn3d.network.spec import LAST_GROUP, WideResNetSpec
from wrn3d.network.wide_resnet import wide_resnet
from wrn3d.system.checks import check_count, require
from wrn3d.system.errors import quoted


def grad_cam(
    spec: WideResNetSpec,
    arrays: Mapping[str, np.ndarray],
    volumes: npt.NDArray[np.float32],
    labels: npt.ArrayLike | None = None,
    group: int = LAST_GROUP,
) -> npt.NDArray[np.float32]:
    """Return the map of each volume, (N, D, H, W) float32 from 0 up: what speaks for its label.

    Args:
        arrays: the weights by canonical name.
        volumes: normalised, (N, D, H, W, C).
        labels: the class to explain, one or (N,); by default the predicted ones.
        group: 0, 1 or 2. The maps are computed from this group's activations, after batch norm and
            ReLU, and then enlarged linearly. Earlier groups have finer and less telling maps.

    A class's logit y gives each channel A_k of the activations the weight alpha_k, the mean of the
    gradient dy / dA_k over all positions; the map is ReLU(sum of alpha_k A_k) (equations 1 and 2).
    It is computed in float32. Raises UsageError for another label or group.
    """
    check_count("group", group, least=0, most=LAST_GROUP)
    chosen = None if labels is None else np.asarray(labels)
    require(
        chosen is None
        or (
            chosen.shape in ((), (len(volumes),))
            and chosen.dtype.kind in "iu"
            and ((chosen >= 0) & (chosen < spec.num_classes)).all()
        ),
        f"label is {quoted(labels)}, but must be a whole number from 0 to {spec.num_classes - 1}, "
        "or one for each volume",
    )
    # The layer that reads the group's output.
    name = "bn" if group == LAST_GROUP else f"group{group + 1}.block0.bn0"
    with tf.GradientTape() as tape:
        layers = _WatchedLayers(arrays, name, tape)
        logits = wide_resnet(layers, tf.constant(volumes, tf.float32), spec, seed=0)
        if chosen is None:
            chosen = logits.numpy().argmax(axis=1)
        rows = np.broadcast_to(chosen, len(volumes))
        scores = tf.gather(logits, rows, axis=1, batch_dims=1)
    activations = layers.activations.numpy()
    gradients = tape.gradient(scores, layers.activations).numpy()
    weights = gradients.mean(axis=tuple(range(1, gradients.ndim - 1)), keepdims=True)
    maps = np.maximum(0, (weights * activations).sum(axis=-1, keepdims=True))
    if maps.ndim == 4:  # images
        maps = maps[:, None]
    return resize_to(maps, spec.input_shape[:3])[..., 0]


class _WatchedLayers(FoldedLayers):
    """The layers of `wide_resnet` that keep the output of one of them, watched by a tape."""

    activations: tf.Tensor

    def __init__(
        self, arrays: Mapping[str, np.ndarray], watched: str, tape: tf.GradientTape
    ) -> None:
        super().__init__(arrays)
        self._watched, self._tape = watched, tape

    def BatchNormRelu(self, name: str) -> Callable:
        layer = super().BatchNormRelu(name)

        def call(x: tf.Tensor) -> tf.Tensor:
            activations = layer(x)
            if name == self._watched:
                self._tape.watch(activations)
                self.activations = activations
            return activations

        return call
