"""The list of the ops that are checked, in the network's order, with their shapes.

The shapes choose each way in which the network computes: volumes of depth 1 as images, real
volumes, small ones, odd sides, both strides, projections, and in bfloat16 filter gradients as
matrix products.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from wrn3d.verify import operations
from wrn3d.verify.batch_norms import PHASES, batch_norm
from wrn3d.verify.checking import Operation

# (sides, channels, filters, size of the kernel, stride)
CONVOLUTIONS: dict[str, Any] = {
    "3x3 on images, first layer": ((1, 32, 32), 3, 16, 3, 1),
    "3x3 on large images": ((1, 32, 32), 16, 16, 3, 1),
    "3x3 on images": ((1, 16, 16), 32, 32, 3, 1),
    "3x3 on images, stride 2": ((1, 16, 16), 16, 32, 3, 2),
    "3x3 on images with odd sides": ((1, 9, 7), 16, 16, 3, 1),
    "3x3 on images with odd sides, stride 2": ((1, 9, 7), 16, 32, 3, 2),
    "3x3 on small images with many filters": ((1, 4, 4), 128, 128, 3, 1),
    "3x3 on small images with many filters, stride 2": ((1, 8, 8), 64, 128, 3, 2),
    "3x3 on images with 640 filters, as in WRN-28-10": ((1, 8, 8), 640, 640, 3, 1),
    "1x1 on images": ((1, 8, 8), 16, 64, 1, 1),
    "1x1 on images, stride 2": ((1, 16, 16), 16, 32, 1, 2),
    "1x1 on images with odd sides, stride 2": ((1, 9, 7), 16, 32, 1, 2),
    "3x3x3 on volumes, first layer": ((16, 16, 16), 1, 16, 3, 1),
    "3x3x3 on volumes": ((8, 8, 8), 16, 16, 3, 1),
    "3x3x3 on volumes, stride 2": ((8, 8, 8), 16, 32, 3, 2),
    "3x3x3 on volumes with odd sides": ((5, 7, 9), 16, 16, 3, 1),
    "3x3x3 on volumes with odd sides, stride 2": ((5, 7, 9), 16, 32, 3, 2),
    "3x3x3 on small volumes": ((2, 2, 1), 32, 32, 3, 1),
    "3x3x3 on small volumes, stride 2": ((2, 2, 2), 32, 64, 3, 2),
    "1x1x1 on volumes, stride 2": ((8, 7, 8), 16, 32, 1, 2),
}
SHAPES: dict[str, Any] = {"images": (16, 1, 8, 8, 32), "volumes": (4, 4, 5, 6, 16)}
POOLS: dict[str, Any] = {
    "pad shortcut on images": ("pad_shortcut", (4, 1, 8, 8, 16), 32, 2),
    "pad shortcut on images with odd sides": ("pad_shortcut", (4, 1, 9, 7, 16), 32, 2),
    "pad shortcut on volumes": ("pad_shortcut", (4, 4, 4, 6, 16), 32, 2),
    "pad shortcut on volumes with odd sides": ("pad_shortcut", (4, 5, 3, 6, 16), 32, 2),
    "pad shortcut without stride": ("pad_shortcut", (4, 1, 8, 8, 16), 64, 1),
    "global average pool of images": ("mean_pool", (8, 1, 8, 8, 64)),
    "global average pool of volumes": ("mean_pool", (8, 4, 3, 5, 64)),
}
LOSSES: dict[str, Any] = {
    "cross-entropy": {},
    "cross-entropy with label smoothing": {"smoothing": 0.1},
    "cross-entropy with weights": {"weighted": True},
    "cross-entropy with label smoothing and weights": {"smoothing": 0.1, "weighted": True},
}
KERNEL, WIDE = (3, 3, 3, 4, 16), (1, 1, 1, 16, 64)
UPDATES: dict[str, Any] = {
    "SGD": ("sgd", KERNEL),
    "SGD with Nesterov's momentum": ("nesterov", KERNEL),
    "Muon": ("muon", KERNEL),
    "Muon of a projection": ("muon", WIDE),
    "Muon on images": ("single depth", KERNEL),
    "Muon of a bias": ("bias", (64,)),
    "Adam": ("adam", KERNEL),
}
QUICK = (
    "convolution 3x3 on images",
    "convolution 3x3 on small images with many filters",
    "convolution 3x3x3 on volumes",
    "batch norm and ReLU of images, two shards",
    "Muon",
)


def operations_in(precisions: tuple[str, ...]) -> list[Operation]:
    """Return the ops in these precisions; what computes in float32 alone comes once."""
    return [
        Operation(f"{name}, {precision}", prepare, name in QUICK)
        for precision in precisions
        for name, prepare in _named(precision)
    ]


def _named(precision: str) -> Iterator[tuple[str, Any]]:
    among: Any = {"precision": precision}
    for name, arguments in CONVOLUTIONS.items():
        yield f"convolution {name}", partial(operations.convolution, *arguments, **among)
    for kind, shape in SHAPES.items():
        for phase in PHASES:
            yield (
                f"batch norm and ReLU of {kind}, {phase}",
                partial(batch_norm, shape, phase, **among),
            )
        yield f"dropout of {kind}", partial(operations.dropout, shape, **among)
        yield f"sum of {kind}", partial(operations.addition, shape, **among)
    for name, arguments in POOLS.items():
        yield name, partial(operations.pooling, *arguments, **among)
    if precision == "float32":
        yield "dense", partial(operations.dense, 32, 64, 10)
        for name, options in LOSSES.items():
            yield name, partial(operations.cross_entropy, 32, 10, **options)
    for name, arguments in UPDATES.items():
        if precision == "float32" or arguments[0] in ("muon", "single depth"):
            yield name, partial(operations.update, *arguments, **among)
