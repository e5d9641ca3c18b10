"""What a network is: depth, width, shortcut, classes and the shape of its input."""
from dataclasses import dataclass
from math import isfinite

from wrn3d.errors import UsageError

SHORTCUTS = ("pad", "projection")


@dataclass(frozen=True)
class WideResNetSpec:
    """A WRN-depth-widen_factor as in "Wide Residual Networks" (arXiv:1605.07146, table 1).

    `depth` is 6n + 4 with n blocks in each of three groups; `widen_factor` is the paper's k.
    `input_shape` is (D, H, W, C). Raises UsageError (a ValueError) for values that make no network.
    """

    depth: int = 28
    widen_factor: int = 4
    dropout: float = 0.0
    num_classes: int = 10
    input_shape: tuple[int, int, int, int] = (1, 32, 32, 3)
    shortcut: str = "pad"

    def __post_init__(self):
        _require(_is_count(self.depth, 10) and (self.depth - 4) % 6 == 0,
                 f"depth is {self.depth!r}, but must be 6n + 4: 10, 16, 22, 28, 34, 40, ...")
        _require(_is_count(self.widen_factor, 1),
                 f"widen_factor is {self.widen_factor!r}, but must be a whole number from 1 up")
        _require(_is_number(self.dropout) and 0 <= self.dropout < 1,
                 f"dropout is {self.dropout!r}, but must be at least 0 and below 1")
        _require(_is_count(self.num_classes, 2),
                 f"num_classes is {self.num_classes!r}, but must be a whole number from 2 up")
        _require(isinstance(self.input_shape, (tuple, list)) and len(self.input_shape) == 4
                 and all(_is_count(side, 1) for side in self.input_shape),
                 f"input_shape is {self.input_shape!r}, but must be (depth, height, width, "
                 "channels), each from 1 up")
        _require(self.shortcut in SHORTCUTS,
                 f"shortcut is {self.shortcut!r}, but must be {' or '.join(SHORTCUTS)}")
        object.__setattr__(self, "input_shape", tuple(map(int, self.input_shape)))

    @property
    def name(self) -> str:
        """The paper's name of the network, such as "WRN-28-4"."""
        return f"WRN-{self.depth}-{self.widen_factor}"

    @property
    def blocks_per_group(self) -> int:
        """The paper's N."""
        return (self.depth - 4) // 6

    @property
    def group_filters(self) -> tuple[int, int, int]:
        """Filters of the convolutions in each group."""
        return tuple(base * self.widen_factor for base in (16, 32, 64))


def _require(condition, message):
    if not condition:
        raise UsageError(message)


def _is_count(value, least):
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
