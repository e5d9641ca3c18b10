"""The network's layers without a framework: they follow shapes and record parameters.

A call of `wide_resnet` with these layers and a SymbolicTensor walks through the network.
`parameters` reads what the walk has recorded.
"""

from dataclasses import dataclass, field
from math import ceil, prod, sqrt

import numpy as np

from wrn3d.system.randomness import generator


@dataclass(frozen=True)
class Parameter:
    """One array of the network: its canonical name, its shape and its initial value.

    `fan_in` is the number of inputs to each output; with 0 the array starts at `start`.
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

    All tensors of a walk share its two lists: the parameters, in the order in which a volume
    meets them, and the size of each layer's output.
    """

    shape: tuple[int, ...]
    parameters: list[Parameter] = field(default_factory=list)
    output_sizes: list[int] = field(default_factory=list)

    def record(self, *parameters: Parameter) -> None:
        """Record the parameters of the layer that is called with this tensor."""
        self.parameters.extend(parameters)

    def output(self, *shape: int) -> "SymbolicTensor":
        """Return a layer's output of this shape, and record its size."""
        self.output_sizes.append(prod(shape))
        return SymbolicTensor(shape, self.parameters, self.output_sizes)


@dataclass(frozen=True)
class Layer:
    """A layer under its canonical name; the settings that it is made with are its fields."""

    name: str = field(kw_only=True)


@dataclass(frozen=True)
class Conv3d(Layer):
    filters: int
    kernel_size: int
    stride: int

    def __call__(self, x: SymbolicTensor) -> SymbolicTensor:
        *sides, channels = x.shape
        # On a side of length 1 only the kernel's centre meets the input. So a network for images
        # starts as the 2D network does.
        fan_in = channels * prod(1 if side == 1 else self.kernel_size for side in sides)
        shape = (self.kernel_size,) * 3 + (channels, self.filters)
        x.record(Parameter(self.name, shape, fan_in=fan_in))
        return x.output(*_strided(sides, self.stride), self.filters)


class BatchNormRelu(Layer):
    def __call__(self, x: SymbolicTensor) -> SymbolicTensor:
        shape = x.shape[-1:]
        x.record(
            Parameter(f"{self.name}.weight", shape, start=1.0),
            Parameter(f"{self.name}.bias", shape),
            Parameter(f"{self.name}.running_mean", shape, trainable=False),
            Parameter(f"{self.name}.running_var", shape, trainable=False, start=1.0),
        )
        return x.output(*x.shape)


@dataclass(frozen=True)
class Dropout(Layer):
    rate: float
    seed: int

    def __call__(self, x: SymbolicTensor) -> SymbolicTensor:
        for _ in ("random numbers", "mask", "result"):
            y = x.output(*x.shape)
        return y


@dataclass(frozen=True)
class PadShortcut(Layer):
    filters: int
    stride: int

    def __call__(self, x: SymbolicTensor) -> SymbolicTensor:
        return x.output(*_strided(x.shape[:-1], self.stride), self.filters)


class Add(Layer):
    def __call__(self, inputs: list[SymbolicTensor]) -> SymbolicTensor:
        return inputs[0].output(*inputs[0].shape)


class GlobalAveragePool(Layer):
    def __call__(self, x: SymbolicTensor) -> SymbolicTensor:
        return x.output(x.shape[-1])


@dataclass(frozen=True)
class Dense(Layer):
    units: int

    def __call__(self, x: SymbolicTensor) -> SymbolicTensor:
        (features,) = x.shape
        x.record(
            Parameter(f"{self.name}.weight", (features, self.units), fan_in=features),
            Parameter(f"{self.name}.bias", (self.units,)),
        )
        return x.output(self.units)


def _strided(sides: tuple[int, ...] | list[int], stride: int) -> list[int]:
    return [ceil(side / stride) for side in sides]
