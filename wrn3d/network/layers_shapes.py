"""The network's layers reduced to their shapes."""

from dataclasses import dataclass
from math import ceil, prod, sqrt

import numpy as np

from wrn3d.system.randomness import generator


@dataclass(frozen=True)
class Parameter:
    """One array of the network: its shape, and how it starts (He et al. 2015, equation 10).

    `fan_in` counts the inputs that reach one output: zero for what starts at `start`.
    `multiply_adds` is how often a volume's forward pass uses the array's numbers, those alone that
    meet the input; padding counts as input.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool = True
    fan_in: int = 0
    start: float = 0.0
    multiply_adds: int = 0

    def initial_value(self, seed: int) -> np.ndarray:
        """float32 array; it depends on (seed, name, shape, fan_in) alone."""
        if not self.fan_in:
            return np.full(self.shape, self.start, np.float32)
        normal = generator(seed, self.name).standard_normal(self.shape, np.float32)
        return normal * np.float32(sqrt(2 / self.fan_in))


@dataclass(frozen=True)
class Shape:
    """A tensor's (D, H, W, C), and the lists in which the layers note their parameters and the
    sizes of what they give."""

    shape: tuple[int, ...]
    found: list[Parameter]
    sizes: list[int]

    def of(self, *shape):
        self.sizes.append(prod(shape))
        return Shape(shape, self.found, self.sizes)


class Conv3d:
    def __init__(self, filters, kernel_size, stride, name):
        self.filters, self.kernel_size, self.stride, self.name = filters, kernel_size, stride, name

    def __call__(self, x):
        *sides, channels = x.shape
        # On a side of length 1 only the kernel's centre meets the input, so that a single-depth
        # network starts as the 2D network does.
        fan_in = channels * prod(1 if side == 1 else self.kernel_size for side in sides)
        shape = (self.kernel_size,) * 3 + (channels, self.filters)
        y = x.of(*_strided(sides, self.stride), self.filters)
        x.found.append(
            Parameter(self.name, shape, fan_in=fan_in, multiply_adds=fan_in * prod(y.shape))
        )
        return y


class BatchNormRelu:
    def __init__(self, name):
        self.name = name

    def __call__(self, x):
        shape = x.shape[-1:]
        x.found.extend(
            [
                Parameter(f"{self.name}.weight", shape, start=1.0),
                Parameter(f"{self.name}.bias", shape),
                Parameter(f"{self.name}.running_mean", shape, trainable=False),
                Parameter(f"{self.name}.running_var", shape, trainable=False, start=1.0),
            ]
        )
        return x.of(*x.shape)


class PadShortcut:
    def __init__(self, filters, stride, name):
        self.filters, self.stride = filters, stride

    def __call__(self, x):
        return x.of(*_strided(x.shape[:-1], self.stride), self.filters)


class Dropout:
    def __init__(self, rate, seed, name):
        pass

    def __call__(self, x):
        for _ in ("drawn numbers", "mask", "result"):
            y = x.of(*x.shape)
        return y


class Add:
    def __init__(self, name):
        pass

    def __call__(self, inputs):
        return inputs[0].of(*inputs[0].shape)


class GlobalAveragePool:
    def __init__(self, name):
        pass

    def __call__(self, x):
        return x.of(x.shape[-1])


class Dense:
    def __init__(self, units, name):
        self.units, self.name = units, name

    def __call__(self, x):
        (features,) = x.shape
        x.found.extend(
            [
                Parameter(
                    f"{self.name}.weight",
                    (features, self.units),
                    fan_in=features,
                    multiply_adds=features * self.units,
                ),
                Parameter(f"{self.name}.bias", (self.units,)),
            ]
        )
        return x.of(self.units)


def _strided(sides, stride):
    return [ceil(side / stride) for side in sides]
