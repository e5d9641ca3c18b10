"""Show where the network looks: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from wrn3d.data.arrays import as_array
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
    """Return heatmaps (N, D, H, W) float32 of volumes: the evidence for a class, from 0 up.

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
    chosen = check_labels(labels, len(volumes), spec.num_classes)
    # The layer that reads the group's output.
    name = "bn" if group == LAST_GROUP else f"group{group + 1}.block0.bn0"
    with tf.GradientTape() as tape:
        layers = _WatchedLayers(arrays, name, tape)
        logits = wide_resnet(layers, tf.constant(volumes, tf.float32), spec, seed=0)
        if chosen is None:
            chosen = logits.numpy().argmax(axis=1)
        scores = tf.gather(logits, chosen, axis=1, batch_dims=1)
    activations = layers.activations.numpy()
    gradients = tape.gradient(scores, layers.activations).numpy()
    weights = gradients.mean(axis=tuple(range(1, gradients.ndim - 1)), keepdims=True)
    maps = np.maximum(0, (weights * activations).sum(axis=-1, keepdims=True))
    if maps.ndim == 4:  # images
        maps = maps[:, None]
    return resize_to(maps, spec.input_shape[:3])[..., 0]


def check_labels(
    labels: npt.ArrayLike | None, count: int, classes: int
) -> npt.NDArray[np.int64] | None:
    """Return one class, or (count,) of them, as (count,); None for None.

    Raises UsageError for anything else.
    """
    if labels is None:
        return None
    array = as_array("label", labels)
    require(
        array.shape in ((), (count,))
        and array.dtype.kind in "iu"
        and ((array >= 0) & (array < classes)).all(),
        f"label is {quoted(labels)}, but must be a whole number from 0 to {classes - 1}, or one "
        "for each volume",
    )
    return np.broadcast_to(array, count).astype(np.int64)


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
