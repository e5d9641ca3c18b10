"""Read the files of a data set, all of one kind: pictures, NumPy arrays or scans."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data import scans
from wrn3d.data.arrays import Volumes, images_of_file
from wrn3d.data.fitting import Resizing
from wrn3d.data.grids import Grid, common_grid, on_grid
from wrn3d.data.npy import header_of, open_array
from wrn3d.data.pictures import ENDINGS, picture_size, read_picture
from wrn3d.data.voxels import Voxels, as_voxels, common_type, share_a_unit, type_for
from wrn3d.data.windows import Window
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, UsageError
from wrn3d.system.memory import check_room
from wrn3d.system.terminal import Progress
from wrn3d.system.words import counted

ARRAY = ".npy"
FEW = 16  # A mask has at most as many different numbers, its labels.
SAMPLED = 2**16  # voxels in which `Masks` counts them


class Reader(NamedTuple):
    """A function that reads each file as a volume of `shape` (D, H, W, C) and type `kind`.

    `resizing` and `spacing` are the Dataset's. `masks` counts the scans that look like masks.
    """

    read: Callable[[Path], Voxels]
    shape: tuple[int, ...]
    kind: npt.DTypeLike
    masks: "Masks | None" = None
    resizing: tuple[Resizing, ...] = ()
    spacing: tuple[float, ...] | None = None


class Masks:
    """Notes which files hold a mask, the labels of a segmentation, instead of a scan."""

    def __init__(self) -> None:
        self.found: list[Path] = []
        self.others = 0

    def note(self, path: Path, voxels: Voxels) -> None:
        """Count the file at `path`, which holds `voxels`."""
        values = voxels.ravel()[:: max(1, voxels.size // SAMPLED)]
        if voxels.dtype.kind != "f" and len(np.unique(values)) <= FEW:
            self.found.append(path)
        else:
            self.others += 1

    def check(self) -> None:
        """Raise DataError if some of the files hold masks, and others do not."""
        if self.found and self.others:
            raise DataError(
                f"{self.found[0]} has at most {FEW} different numbers, as a mask has, unlike "
                f"{counted(self.others, 'other file')}: list its scan instead, or leave it out"
            )


def reader_for(
    splits: Mapping[str, Sequence[Path]],
    volume_size: int | None = None,
    window: Window | None = None,
    grid: Grid | None = None,
) -> Reader:
    """Return the reader for the files of some splits, all of one kind.

    Pictures and scans get the longest side `volume_size` if it is given; arrays are not resized.
    `window` maps intensities to 256 levels, except in pictures. Scans get the `grid`, or else one
    that the training and validation files decide on. Raises DataError for damaged files, several
    kinds, or sizes that differ without `volume_size`.
    """
    files = list(chain(*splits.values()))
    kinds: dict[Callable[..., Reader], Path] = {}
    for path in files:
        kinds.setdefault(_kind(path), path)
    if len(kinds) > 1:
        first, second, *_ = kinds.values()
        raise DataError(
            f"files are of different kinds, such as {first} and {second}: list either pictures, or "
            "NumPy arrays, or scans"
        )
    kind = next(iter(kinds))
    if kind is picture_reader:
        require(window is None, "pictures have 8 bits and need no window: leave window out")
        return picture_reader(files, volume_size)
    if kind is _array_reader:
        return _array_reader(files, window)
    known = [path for name in ("train", "validation") for path in splits.get(name, ())] or files
    return _scan_reader(files, known, volume_size, window, grid)


def _kind(path: Path) -> Callable[..., Reader]:
    name = path.name.lower()
    if name.endswith(ENDINGS):
        return picture_reader
    if name.endswith(ARRAY):
        return _array_reader
    if scans.is_scan(path):
        return _scan_reader
    raise DataError(
        f"{path} cannot be read: use pictures ({', '.join(ENDINGS)}), NumPy arrays ({ARRAY}), "
        f"scans ({', '.join(scans.ENDINGS)}) or folders of a DICOM series"
    )


def _common_kind(kinds: Mapping[Path, npt.DTypeLike], window: Window | None) -> npt.DTypeLike:
    """Return the type of the volumes; raise DataError for bytes beside other numbers.

    A window of percentiles takes both, since it does not depend on the unit.
    """
    if window and window.percentiles:
        return np.uint8
    examples: dict[np.dtype, Path] = {}
    for path, kind in kinds.items():
        examples.setdefault(np.dtype(kind), path)
    with_bytes = examples.get(np.dtype(np.uint8))
    for kind, path in examples.items():
        if with_bytes and not share_a_unit([kind, np.uint8]):
            raise DataError(
                f"{with_bytes} holds uint8, but {path} {kind}, whose unit is probably another: "
                "convert them to one, or map both with a window of percentiles (--window 1% 99%)"
            )
    return np.uint8 if window else common_type(examples)


def read_files(
    reader: Reader, files: Mapping[str, Sequence[Path]], title: str
) -> dict[str, Volumes]:
    """Return the volumes (N, D, H, W, C) of the files of each split.

    `title` names the data in errors. Raises DataError for damaged files, for masks among scans, and
    if the volumes would take more than half of the free memory.
    """
    paths = list(chain(*files.values()))
    nbytes = len(paths) * prod(reader.shape) * np.dtype(reader.kind).itemsize
    check_room(f"the {counted(len(paths), 'file')} of {title}", nbytes)
    volumes = {}
    with Progress(len(paths), "reading") as progress:
        for split, own in files.items():
            volumes[split] = np.empty((len(own), *reader.shape), reader.kind)
            for volume, path in zip(volumes[split], own, strict=True):
                try:
                    volume[...] = reader.read(path)
                except UsageError as error:
                    raise DataError(str(error)) from error
                progress.advance()
    if reader.masks:
        reader.masks.check()
    return volumes


def picture_reader(files: Iterable[Path], side: int | None) -> Reader:
    """Return the reader of pictures as RGB, cut to squares of `side` pixels if it is given.

    Raises DataError if the pictures differ in size without `side`.
    """
    size = (side, side) if side else _common_size(files)
    resizing = (Resizing("bicubic", (1, *size)),) if side else ()
    return Reader(
        lambda path: read_picture(path, size=size)[None], (1, *size, 3), np.uint8, None, resizing
    )


def _common_size(files: Iterable[Path]) -> tuple[int, int]:
    """Return (height, width) of all the pictures; raise DataError if they differ."""
    sizes: dict[tuple[int, int], Path] = {}
    for file in files:
        sizes.setdefault(picture_size(file), file)
    if len(sizes) > 1:
        (size, file), (other_size, other), *_ = sizes.items()
        raise DataError(
            f"pictures differ in size ({file} is {size[1]}x{size[0]}, {other} is "
            f"{other_size[1]}x{other_size[0]}): choose one side for all with --volume-size"
        )
    return next(iter(sizes))


def _array_reader(files: Sequence[Path], window: Window | None) -> Reader:
    headers = {path: header_of(path) for path in files}
    (first, (shape, _)), *others = headers.items()
    for path, (other, _) in others:
        if other != shape:
            raise DataError(
                f"arrays differ in shape ({first} has {shape}, {path} has {other}): bring them to "
                "one"
            )
    kind = _common_kind({path: type_for(dtype) for path, (_, dtype) in headers.items()}, window)

    def read(path: Path) -> Voxels:
        voxels = as_voxels(f"the numbers in {path}", np.array(open_array(path)))
        [volume] = images_of_file(str(path), voxels[None])
        return window(volume, str(path)) if window else volume.astype(kind)

    [volume] = images_of_file(str(first), np.zeros((1, *shape), np.uint8))
    return Reader(read, volume.shape, kind)


def _scan_reader(
    files: Sequence[Path],
    known: Sequence[Path],
    volume_size: int | None,
    window: Window | None,
    grid: Grid | None,
) -> Reader:
    headers = {path: scans.read_header(path) for path in files}
    (first, header), *others = headers.items()
    for path, other in others:
        if other.channels != header.channels:
            raise DataError(
                f"scans differ in their channels: {first} has {header.channels}, {path} has "
                f"{other.channels}"
            )
    slices = [path for path, one in headers.items() if one.grid.sides[0] == 1]
    if 0 < len(slices) < len(headers):
        raise DataError(
            f"{slices[0]} has one slice, unlike {counted(len(headers) - len(slices), 'other scan')}"
            ": list the folder with all slices of its series"
        )
    deciding = files if volume_size is None else known
    grid = grid or common_grid({path: headers[path].grid for path in deciding}, volume_size)
    kind = _common_kind({path: one.kind for path, one in headers.items()}, window)
    masks = Masks()

    def read(path: Path) -> Voxels:
        scan = scans.read_scan(path)
        masks.note(path, scan.voxels)
        if window:
            scan = scan._replace(voxels=window(scan.voxels, str(path)))
        return on_grid(scan, grid, kind)

    resizing = (Resizing("linear", grid.sides),) if volume_size else ()
    return Reader(read, (*grid.sides, header.channels), kind, masks, resizing, grid.spacing)
