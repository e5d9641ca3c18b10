"""The grids of scans: voxels in millimetres, and how scans come to one grid and back."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data.resizing import resize_to
from wrn3d.data.voxels import Voxels, rounded
from wrn3d.system.checks import check_each, check_number, require
from wrn3d.system.errors import DataError
from wrn3d.system.memory import check_room

TOLERANCE = 1e-3  # of distances, relative


class Grid(NamedTuple):
    """The number of a scan's voxels along (D, H, W), and their distances in mm."""

    sides: tuple[int, ...]
    spacing: tuple[float, ...]

    def __str__(self) -> str:
        spacing = "x".join(f"{one:.3g}" for one in self.spacing)
        return f"{'x'.join(map(str, self.sides))} voxels of {spacing} mm"

    def agrees(self, other: "Grid") -> bool:
        """Return whether two grids are the same but for rounding."""
        return self.sides == other.sides and np.allclose(self.spacing, other.spacing, TOLERANCE, 0)


class Scan(NamedTuple):
    """A scan's voxels, (D, H, W, C), and their grid."""

    voxels: Voxels
    grid: Grid


def check_spacing(spacing: Any) -> tuple[float, ...] | None:
    """Return a checkpoint's spacing, or None; raise UsageError unless it has three numbers."""
    if spacing is None:
        return None
    checked = check_each("spacing", spacing, check_number)
    require(len(checked) == 3 and min(checked) > 0, "its spacing is invalid")
    return checked


def common_grid(grids: Mapping[Path, Grid], longest: int | None) -> Grid:
    """Return one grid for scans with these grids: their own, or one that holds the largest.

    With `longest`, the voxels of the grid are cubes, and it has that many along its longest side.
    Raises DataError if `longest` is None and the scans differ.
    """
    if longest is None:
        (first, one), *others = grids.items()
        for path, grid in others:
            if not grid.agrees(one):
                raise DataError(
                    f"scans differ in their grid ({first} has {one}, {path} has {grid}): choose "
                    "the longest side for all with --volume-size"
                )
        return one
    extents = np.max([np.multiply(grid.sides, grid.spacing) for grid in grids.values()], axis=0)
    spacing = (float(extents.max()) / longest,) * 3
    largest = np.max([grid.sides for grid in grids.values()], axis=0)
    return Grid(tuple(_sides_on(spacing, largest, extents / largest)), spacing)


def on_grid(scan: Scan, grid: Grid, kind: npt.DTypeLike) -> Voxels:
    """Return a scan's voxels on a grid, (D, H, W, C) of the type `kind`, with the same centre.

    Interpolates as `resizing.resize` does, cuts off what is outside the grid, and fills the rest
    with the scan's lowest number. Raises DataError if that would take too much memory.
    """
    voxels, sides = scan.voxels, _sides_on(grid.spacing, *scan.grid)
    check_room(f"a scan with {scan.grid}", 4 * prod(sides) * voxels.shape[-1], "check its header")
    if tuple(sides) != voxels.shape[:3]:
        numbers = resize_to(voxels[None].astype(np.float32), sides)[0]
    else:
        numbers = voxels
    placed = np.full((*grid.sides, voxels.shape[-1]), voxels.min(), numbers.dtype)
    there, here = _overlaps(grid.sides, sides)
    placed[there] = numbers[here]
    return rounded(placed, kind) if placed.dtype != kind else placed


def off_grid(numbers: Voxels, grid: Grid, own: Grid) -> Voxels:
    """Bring numbers (D, H, W) for a scan that `on_grid` has resized back to the scan's own grid.

    What the grid does not cover becomes 0.
    """
    sides = _sides_on(grid.spacing, *own)
    placed = np.zeros(sides, np.float32)
    there, here = _overlaps(grid.sides, sides)
    placed[here] = numbers[there]
    return resize_to(placed[None, ..., None], own.sides)[0, ..., 0]


def _sides_on(spacing: Any, sides: Any, own_spacing: Any) -> list[int]:
    """Return how many voxels of `spacing` cover the sides of a scan; a side of 1 stays."""
    triples = zip(spacing, sides, own_spacing, strict=True)
    return [1 if side == 1 else max(1, round(side * own / new)) for new, side, own in triples]


def _overlaps(one: Sequence[int], other: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return where two volumes with the same centre overlap, in the first and in the second."""
    return list(zip(*map(_overlap, one, other), strict=True))


def _overlap(large: int, small: int) -> tuple[slice, slice]:
    """Return where two sides with the same centre overlap, in the first and in the second."""
    length, start = min(large, small), abs(large - small) // 2
    inner, whole = slice(start, start + length), slice(0, length)
    return (inner, whole) if large > small else (whole, inner)
