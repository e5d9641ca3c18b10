"""Networks with the same weights that compute something else, as other programs' Wide ResNets do.

Names and shapes do not tell the activation, batch norm's epsilon or the input of the shortcuts.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from wrn3d.network.convolution import conv3d
from wrn3d.network.ops import dense, global_average_pool
from wrn3d.network.spec import BATCH_NORM_EPSILON, WideResNetSpec
from wrn3d.network.wide_resnet import wide_resnet

ACTIVATIONS: dict[str, Callable] = {
    "ReLU": tf.nn.relu,
    "LeakyReLU(0.1)": lambda x: tf.nn.leaky_relu(x, 0.1),
    "LeakyReLU(0.01)": lambda x: tf.nn.leaky_relu(x, 0.01),
    "LeakyReLU(0.2)": lambda x: tf.nn.leaky_relu(x, 0.2),
    "SiLU": tf.nn.silu,
    "GELU": tf.nn.gelu,
    "ELU": tf.nn.elu,
}
EPSILONS = (BATCH_NORM_EPSILON, 1e-3, 1e-4, 1e-6)
# The groups whose projection takes the block's raw input instead of the activated one.
RAW_GROUPS = {
    "": (),
    "shortcuts of the raw input": (0, 1, 2),
    "shortcuts of the raw input after the first group": (1, 2),  # MixMatch's in PyTorch
}


class Function(NamedTuple):
    """What weights do not tell about a Wide ResNet; the defaults are this project's."""

    activation: str = "ReLU"
    epsilon: float = BATCH_NORM_EPSILON
    shortcut: str = ""

    def differences(self) -> list[str]:
        """Return what differs from this project's network, for a message."""
        return [
            *([self.activation] if self.activation != "ReLU" else []),
            *([f"epsilon {self.epsilon:g}"] if self.epsilon != BATCH_NORM_EPSILON else []),
            *([self.shortcut] if self.shortcut else []),
        ]


def other_functions() -> Iterator[Function]:
    """Yield all other Functions, those with the fewest differences first."""
    functions = map(Function._make, product(ACTIVATIONS, EPSILONS, RAW_GROUPS))
    yield from sorted(functions, key=lambda function: len(function.differences()))[1:]


def logits(
    function: Function,
    spec: WideResNetSpec,
    weights: Mapping[str, np.ndarray],
    volumes: np.ndarray,
) -> np.ndarray:
    """Return the logits (N, num_classes) of volumes (N, D, H, W, C) in evaluation."""
    layers: Any = _Layers(function, weights)
    array: np.ndarray = wide_resnet(layers, tf.constant(volumes), spec, 0).numpy()
    return array


class _Layers:
    """The layers of `wide_resnet` as functions of tensors, with the weights of a network."""

    def __init__(self, function: Function, weights: Mapping[str, np.ndarray]) -> None:
        self.function, self.weights = function, weights
        self.block_input: Any = None

    def BatchNormRelu(self, name: str) -> Callable:
        ends = ("running_mean", "running_var", "bias", "weight")
        arrays = [self.weights[f"{name}.{end}"] for end in ends]

        def call(x: tf.Tensor) -> tf.Tensor:
            if name.endswith(".bn0"):
                self.block_input = x
            y = tf.nn.batch_normalization(x, *arrays, self.function.epsilon)
            return ACTIVATIONS[self.function.activation](y)

        return call

    def Conv3d(self, filters: int, kernel_size: int, stride: int, name: str) -> Callable:
        kernel = tf.constant(self.weights[name])
        raw = any(
            name == f"group{group}.block0.convdim" for group in RAW_GROUPS[self.function.shortcut]
        )
        return lambda x: conv3d(self.block_input if raw else x, kernel, stride)

    def Add(self, name: str) -> Callable:
        return tf.add_n

    def GlobalAveragePool(self, name: str) -> Callable:
        return global_average_pool

    def Dense(self, units: int, name: str) -> Callable:
        return lambda x: dense(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
