"""The network's specification: depth, width, shortcut, classes and input shape."""

from dataclasses import dataclass

from wrn3d.system.checks import check_choice, check_count, check_each, check_share, require
from wrn3d.system.errors import quoted

PAPER_STRIDES = (1, 2, 2)
BATCH_NORM_EPSILON = 1e-5  # as in PyTorch, and so in the authors' code
BATCH_NORM_MOMENTUM = 0.1  # weight of the newest batch in the running averages
LAST_GROUP = len(PAPER_STRIDES) - 1
PARTS = ("conv0", "group0", "group1", "group2", "bn", "fc")  # of the network, from its input on
SHORTCUTS = ("pad", "projection")
DEEPEST, WIDEST = 10_000, 10_000  # no machine holds a larger network


@dataclass(frozen=True)
class WideResNetSpec:
    """A WRN-depth-k as in "Wide Residual Networks" (arXiv:1605.07146, table 1).

    The network has three groups of n blocks, whose convolutions have 16k, 32k and 64k filters.
    `widen_factor` is k. `depth` is 6n + 4, the paper's count of convolutions: two in each of the
    3n blocks, one before them, and a projection in each group.

    `strides` are the strides of the groups' first blocks, in every dimension. `input_shape` is
    (D, H, W, C), with D = 1 for images. `shortcut` is "projection", the paper's 1x1x1 convolution
    where a block changes the shape, or "pad", the original script's pooling and zero channels.

    Raises UsageError (a ValueError) if a value is invalid.
    """

    depth: int = 28
    widen_factor: int = 4
    dropout: float = 0.0
    num_classes: int = 10
    input_shape: tuple[int, int, int, int] = (1, 32, 32, 3)
    shortcut: str = "pad"
    strides: tuple[int, int, int] = PAPER_STRIDES

    def __post_init__(self) -> None:
        shape = self.input_shape
        require(
            isinstance(shape, (tuple, list)) and len(shape) == 4,
            f"input_shape is {quoted(shape)}, but must be (D, H, W, C): four numbers",
        )
        checked = {
            "depth": check_count("depth", self.depth, most=DEEPEST),
            "widen_factor": check_count("widen_factor", self.widen_factor, most=WIDEST),
            "dropout": check_share("dropout", self.dropout),
            "num_classes": check_count("num_classes", self.num_classes, least=2),
            "input_shape": tuple(
                check_count(f"input_shape is {shape!r}: a side", side) for side in shape
            ),
            "strides": check_each("strides", self.strides, check_count, 1, 2),
        }
        require(
            self.depth >= 10 and (self.depth - 4) % 6 == 0,
            f"depth is {self.depth}, but must be 6n + 4: 10, 16, 22, 28, 34, 40, ...",
        )
        require(
            len(self.strides) == len(PAPER_STRIDES),
            f"strides is {quoted(self.strides)}, but must be three numbers, one for each group",
        )
        check_choice("shortcut", self.shortcut, SHORTCUTS)
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # the way to set a frozen dataclass's fields

    @property
    def name(self) -> str:
        """The paper's name of the network, such as "WRN-28-4"."""
        return f"WRN-{self.depth}-{self.widen_factor}"

    @property
    def blocks_per_group(self) -> int:
        """The n in depth = 6n + 4."""
        return (self.depth - 4) // 6

    @property
    def group_filters(self) -> tuple[int, int, int]:
        """The number of filters of each group's convolutions: 16k, 32k, 64k."""
        return 16 * self.widen_factor, 32 * self.widen_factor, 64 * self.widen_factor


def check_spec(spec: object) -> None:
    """Raise UsageError unless `spec` is a WideResNetSpec."""
    require(
        isinstance(spec, WideResNetSpec), f"spec is {quoted(spec)}, but must be a WideResNetSpec"
    )
