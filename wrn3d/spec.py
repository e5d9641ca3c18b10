"""What a network is: depth, width, shortcut, classes and the shape of its input."""
from dataclasses import dataclass

from wrn3d.checks import check_count, check_share, require

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
        check_count("depth", self.depth)
        require(self.depth >= 10 and (self.depth - 4) % 6 == 0,
                f"depth is {self.depth}, but must be 6n + 4: 10, 16, 22, 28, 34, 40, ...")
        check_count("widen_factor", self.widen_factor)
        check_share("dropout", self.dropout)
        check_count("num_classes", self.num_classes, least=2)
        require(isinstance(self.input_shape, (tuple, list)) and len(self.input_shape) == 4,
                f"input_shape is {self.input_shape!r}, but must be (D, H, W, C): four numbers")
        for side in self.input_shape:
            check_count(f"input_shape is {self.input_shape!r}: a side", side)
        require(self.shortcut in SHORTCUTS,
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

