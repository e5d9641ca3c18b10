"""The network's layers without a framework: they compute shapes and record parameters.

A call of `wide_resnet` with these layers and a SymbolicTensor walks through the network.
`parameters` reads the records of such a walk. Here each layer is a function that returns the
function to call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, prod, sqrt
from typing import TypeAlias

import numpy as np

from wrn3d.system.randomness import generator


@dataclass(frozen=True)
class Parameter:
    """One array of the network: its canonical name, its shape and its initial value.

    `fan_in` is the number of inputs to each output; if it is 0, all values start at `start`.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool = True
    fan_in: int = 0
    start: float = 0.0

    def initial_value(self, seed: int) -> np.ndarray:
        """Return a float32 array that depends on (seed, name, shape, fan_in) alone.

        Kernels are He-normal (He et al. 2015, equation 10).
        """
        if not self.fan_in:
            return np.full(self.shape, self.start, np.float32)
        normal = generator(seed, self.name).standard_normal(self.shape, np.float32)
        return normal * np.float32(sqrt(2 / self.fan_in))


@dataclass(frozen=True)
class SymbolicTensor:
    """A tensor without values: its shape is that of one sample, (D, H, W, C) or (C,).

    All tensors of a walk share its two lists, both in the network's order: the parameters and the
    size of each layer's output.
    """

    shape: tuple[int, ...]
    parameters: list[Parameter] = field(default_factory=list)
    output_sizes: list[int] = field(default_factory=list)

    def output(self, *shape: int, parameters: Sequence[Parameter] = ()) -> "SymbolicTensor":
        """Return a layer's output of this shape; record its size and the layer's parameters."""
        self.parameters.extend(parameters)
        self.output_sizes.append(prod(shape))
        return SymbolicTensor(shape, self.parameters, self.output_sizes)


Layer: TypeAlias = Callable[[SymbolicTensor], SymbolicTensor]


def Conv3d(filters: int, kernel_size: int, stride: int, name: str) -> Layer:
    def call(x: SymbolicTensor) -> SymbolicTensor:
        *sides, channels = x.shape
        # Along a side of length 1 only the kernel's centre meets the input. So kernels for images
        # have the fan-in, and with it the initial scale, of 2D kernels.
        fan_in = channels * prod(1 if side == 1 else kernel_size for side in sides)
        kernel = Parameter(name, (kernel_size,) * 3 + (channels, filters), fan_in=fan_in)
        return x.output(*_strided(sides, stride), filters, parameters=[kernel])

    return call


def BatchNormRelu(name: str) -> Layer:
    def call(x: SymbolicTensor) -> SymbolicTensor:
        shape = x.shape[-1:]
        parameters = [
            Parameter(f"{name}.weight", shape, start=1.0),
            Parameter(f"{name}.bias", shape),
            Parameter(f"{name}.running_mean", shape, trainable=False),
            Parameter(f"{name}.running_var", shape, trainable=False, start=1.0),
        ]
        return x.output(*x.shape, parameters=parameters)

    return call


def Dropout(rate: float, seed: int, name: str) -> Layer:
    def call(x: SymbolicTensor) -> SymbolicTensor:
        x.output_sizes.extend(2 * [prod(x.shape)])  # the random numbers and the mask
        return x.output(*x.shape)

    return call


def PadShortcut(filters: int, stride: int, name: str) -> Layer:
    return lambda x: x.output(*_strided(x.shape[:-1], stride), filters)


def Add(name: str) -> Callable[[Sequence[SymbolicTensor]], SymbolicTensor]:
    return lambda inputs: inputs[0].output(*inputs[0].shape)


def GlobalAveragePool(name: str) -> Layer:
    return lambda x: x.output(x.shape[-1])


def Dense(units: int, name: str) -> Layer:
    def call(x: SymbolicTensor) -> SymbolicTensor:
        (features,) = x.shape
        weight = Parameter(f"{name}.weight", (features, units), fan_in=features)
        return x.output(units, parameters=[weight, Parameter(f"{name}.bias", (units,))])

    return call


def _strided(sides: Sequence[int], stride: int) -> list[int]:
    return [ceil(side / stride) for side in sides]
