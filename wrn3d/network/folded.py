"""The network with constant weights, for the lowest latency in evaluation.

In each block, the batch norm between the two convolutions is folded into the first one, so one op
of an image computes convolution, batch norm and ReLU. The logits are the model's within rounding.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from wrn3d.network import ops
from wrn3d.network.convolution import convolve
from wrn3d.network.spec import BATCH_NORM_EPSILON, WideResNetSpec
from wrn3d.network.wide_resnet import wide_resnet
from wrn3d.system.tensorflow_setup import has_fast_bfloat16

CONVOLUTION, FOLDED = ".conv0", ".bn1"  # the ends of their names in each block
SLOPE = 1e-30  # as good as 0
LARGEST = 2**29  # bytes of weights inside a graph, which TensorFlow limits to 2 GiB


def folded(spec: WideResNetSpec, arrays: Mapping[str, np.ndarray], precision: str) -> Callable:
    """Return a graph: a tensor of volumes (N, D, H, W, C) float32 -> logits (N, num_classes).

    `arrays` are the weights by canonical name; later changes of them have no effect. Where the
    CPU's bfloat16 is slow, bfloat16 is computed in float32.
    """
    if not has_fast_bfloat16():
        precision = "float32"
    layers = FoldedLayers(arrays)

    def logits(volumes: tf.Tensor) -> tf.Tensor:
        return wide_resnet(layers, _without_depth_1(volumes), spec, seed=0, precision=precision)

    signature = tf.TensorSpec((None, *spec.input_shape), tf.float32)
    # Traced here: of several networks that are traced when called, TensorFlow warns.
    return tf.function(logits, autograph=False).get_concrete_function(signature)


class FoldedLayers:
    """The layers of `wide_resnet`, for volumes (N, D, H, W, C) and images (N, H, W, C)."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays
        self._are_large = sum(array.nbytes for array in arrays.values()) > LARGEST

    def Cast(self, to: str, name: str) -> Callable:
        return lambda x: tf.cast(x, to)

    def Conv3d(self, filters: int, kernel_size: int, stride: int, name: str) -> Callable:
        kernel, folds = self._arrays[name], name.endswith(CONVOLUTION)
        if folds:
            scale, offset = self._affine(name.removesuffix(CONVOLUTION) + FOLDED)
            kernel = kernel * scale

        def call(x: tf.Tensor) -> tf.Tensor:
            met = kernel if x.shape.rank == 5 else kernel[kernel_size // 2]
            with tf.init_scope() if self._are_large else nullcontext():  # outside the graph
                constant = tf.constant(met, x.dtype)
            y = convolve(x, constant, stride)
            if folds:
                y = _relu(tf.nn.bias_add(y, tf.constant(offset, y.dtype)))
            return _without_depth_1(y)

        return call

    def BatchNormRelu(self, name: str) -> Callable:
        if name.endswith(FOLDED):
            return lambda x: x  # done with the convolution
        scale, offset = self._affine(name)
        # Separate ops: for one image TensorFlow's batch norm takes longer than all three.
        return lambda x: tf.cast(tf.nn.relu(tf.cast(x, tf.float32) * scale + offset), x.dtype)

    def Dropout(self, rate: float, seed: int, name: str) -> Callable:
        return lambda x: x

    def PadShortcut(self, filters: int, stride: int, name: str) -> Callable:
        return lambda x: _without_depth_1(ops.pad_shortcut(_as_volumes(x), filters, stride))

    def Add(self, name: str) -> Callable:
        return lambda pair: tf.add(*pair)

    def GlobalAveragePool(self, name: str) -> Callable:
        return lambda x: ops.global_average_pool(_as_volumes(x))

    def Dense(self, units: int, name: str) -> Callable:
        weight, bias = (self._arrays[f"{name}.{end}"] for end in ("weight", "bias"))
        return lambda x: ops.dense(x, weight, bias)

    def _affine(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch norm's (scale, offset), each (C,) float32."""
        ends = ("weight", "bias", "running_mean", "running_var")
        weight, bias, mean, var = (self._arrays[f"{name}.{end}"].astype(float) for end in ends)
        scale = weight / np.sqrt(var + BATCH_NORM_EPSILON)
        return scale.astype(np.float32), (bias - mean * scale).astype(np.float32)


def _relu(y: tf.Tensor) -> tf.Tensor:
    """Return the ReLU of a convolution with bias, NaN where y is NaN.

    TensorFlow fuses the three ops. With `relu` the fused op would make 0 of NaN. Over volumes it
    ignores the slope of LeakyRelu if the bias is 0 (TensorFlow 2.21); `maximum` is never fused.
    """
    return tf.maximum(y, 0) if y.shape.rank == 5 else tf.raw_ops.LeakyRelu(features=y, alpha=SLOPE)


def _without_depth_1(x: Any) -> Any:
    """Return volumes of depth 1 as images: TensorFlow fuses no ops across a reshape."""
    return tf.squeeze(x, 1) if x.shape.rank == 5 and x.shape[1] == 1 else x


def _as_volumes(x: tf.Tensor) -> tf.Tensor:
    return tf.expand_dims(x, 1) if x.shape.rank == 4 else x
