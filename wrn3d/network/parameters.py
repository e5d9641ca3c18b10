"""The network's parameters without a framework: names, shapes, initial values, counts.

The functions call `wide_resnet` with the layers of `layers_shapes`, which record their parameters
and the sizes of their outputs. They do not need TensorFlow.
"""

from math import prod

import numpy as np

from wrn3d.network import layers_shapes
from wrn3d.network.layers_shapes import Parameter, SymbolicTensor
from wrn3d.network.spec import WideResNetSpec, check_spec
from wrn3d.network.wide_resnet import wide_resnet
from wrn3d.system.checks import check_count

KERNEL_DIMENSIONS = 5  # (k, k, k, C, F); all other parameters have fewer


def network_parameters(spec: WideResNetSpec) -> tuple[Parameter, ...]:
    """Return every parameter of the network, in the network's order."""
    return tuple(_walk(spec).parameters)


def part_of(name: str) -> str:
    """Return the part of the network that a canonical name belongs to: "conv0", "group0", ..."""
    return name.split(".")[0]


def initial_weights(spec: WideResNetSpec, seed: int) -> dict[str, np.ndarray]:
    """Return {canonical name: float32 array}: the weights and running averages at iteration 0.

    Kernels are He-normal, batch norm is the identity, biases are zero. Raises UsageError for
    anything but a WideResNetSpec and a whole number from 0 up.
    """
    check_count("seed", seed, least=0)
    return {parameter.name: parameter.initial_value(seed) for parameter in network_parameters(spec)}


def parameter_count(spec: WideResNetSpec) -> int:
    """Return the number of trainable parameters; running averages do not count."""
    return sum(prod(p.shape) for p in network_parameters(spec) if p.trainable)


def activation_count(spec: WideResNetSpec) -> int:
    """Return the number of values in all layers' outputs for one volume."""
    return sum(_walk(spec).output_sizes)


def _walk(spec: WideResNetSpec) -> SymbolicTensor:
    """Return the network's output, which carries the lists that the layers have filled."""
    check_spec(spec)
    output: SymbolicTensor = wide_resnet(
        layers_shapes, SymbolicTensor(spec.input_shape), spec, seed=0
    )
    return output
