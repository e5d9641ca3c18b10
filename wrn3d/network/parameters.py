"""What a network holds, known without a framework: names, shapes, initial values, counts."""

from math import prod

import numpy as np

from wrn3d.network import layers_shapes
from wrn3d.network.layers_shapes import Parameter, Shape
from wrn3d.network.wide_resnet import wide_resnet

KERNEL_DIMENSIONS = 5  # (k, k, k, C, F): no other parameter has as many


def network_parameters(spec) -> tuple[Parameter, ...]:
    """Every parameter of `spec`'s network, in the order in which a volume meets them."""
    return tuple(_walk(spec).found)


def part_of(name) -> str:
    """The part of the network that a canonical name belongs to: "conv0", "group0", ..., "fc"."""
    return name.split(".")[0]


def initial_weights(spec, seed: int) -> dict[str, np.ndarray]:
    """{canonical name: float32 array}: He-normal kernels, batch norm at identity, zero biases."""
    return {parameter.name: parameter.initial_value(seed) for parameter in network_parameters(spec)}


def parameter_count(spec) -> int:
    """How many numbers training changes (the running averages are not among them)."""
    return sum(prod(p.shape) for p in network_parameters(spec) if p.trainable)


def activation_count(spec) -> int:
    """How many numbers the layers make of one volume, all of them together."""
    return sum(_walk(spec).sizes)


def _walk(spec):
    """What comes of the network: its last Shape."""
    return wide_resnet(layers_shapes, Shape(spec.input_shape, [], []), spec, seed=0)
