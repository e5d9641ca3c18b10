"""Read scans (NIfTI, NRRD, MetaImage, DICOM) through SimpleITK, and bring them to one grid."""

import gzip
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import wraps
from math import dist, prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from wrn3d.data.npy import DEFLATE_RATIO
from wrn3d.data.resizing import resize_to
from wrn3d.data.voxels import Voxels, as_voxels, check_finite, rounded
from wrn3d.system.checks import check_each, check_number, require
from wrn3d.system.errors import DataError, UsageError, UserError, printable
from wrn3d.system.memory import check_room
from wrn3d.system.terminal import without_native_messages

READERS = {  # by a file's ending; without a name, SimpleITK tries all that it has
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".dcm": "GDCMImageIO",
}
ENDINGS = tuple(READERS)
SERIES = "GDCMImageIO"  # reads the slices in a folder
ORIENTATION = "RAS"  # columns run to the right, rows to the front, slices upwards
KINDS = {  # by SimpleITK's names; wider types become float32
    "8-bit unsigned integer": np.uint8,
    "8-bit signed integer": np.int16,
    "16-bit signed integer": np.int16,
    "16-bit unsigned integer": np.uint16,
}
TOLERANCE = 1e-3  # of distances, relative
LONGEST_LINE = 500  # of an NRRD header, in bytes; a line for three axes has about 100
FLOATS = {16: "f4", 64: "f8"}  # by NIfTI's codes
BLOCK = 2**20  # bytes

Content = TypeVar("Content")


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


class Header(NamedTuple):
    """A scan's grid, its number of channels, and the type that holds its numbers."""

    grid: Grid
    channels: int
    kind: npt.DTypeLike


class Scan(NamedTuple):
    """A scan's voxels, (D, H, W, C), and their grid."""

    voxels: Voxels
    grid: Grid


def is_scan(path: Path) -> bool:
    """Return whether a path is a folder, or a file that ends in one of ENDINGS."""
    return path.name.lower().endswith(ENDINGS) or path.is_dir()


def _naming_the_file(read: Callable[[Path], Content]) -> Callable[[Path], Content]:
    """Turn the errors of a function that reads the scan at a path into DataErrors about it."""

    @wraps(read)
    def reading(path: Path) -> Content:
        try:
            with without_native_messages():
                return read(path)
        except ImportError as error:
            raise DataError(
                f'{path} needs SimpleITK, which is not installed: pip install "wrn3d[medical]"'
            ) from error
        except UserError as error:
            raise DataError(str(error)) from error
        except Exception as error:  # SimpleITK raises RuntimeError for nearly anything
            raise DataError(
                f"{path} cannot be read as a scan ({_last_sentence(error)}): repair it, or leave "
                "it out"
            ) from error

    return reading


def _last_sentence(error: Exception) -> str:
    """Return what an error of SimpleITK says after the place in its source code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable((lines or [type(error).__name__])[-1].rpartition("ERROR: ")[2].rstrip("."))


@_naming_the_file
def read_header(path: Path) -> Header:
    """Return the header of the scan that `read_scan` returns; few formats need its voxels for that.

    Raises DataError if the file is damaged, or if it holds no scan or several.
    """
    import SimpleITK as sitk

    files = _files(path)
    first, last = (_information(files[place]) for place in (0, -1))
    name = sitk.GetPixelIDValueAsString(first.GetPixelID()).removeprefix("vector of ")
    channels, kind = first.GetNumberOfComponents(), KINDS.get(name, np.float32)
    if first.GetDimension() != 3:  # its axes are clear only after reading
        return Header(_read(path).grid, channels, kind)
    sides, spacing = list(first.GetSize()), list(first.GetSpacing())
    if len(files) > 1:
        sides[2] = len(files)
        spacing[2] = dist(first.GetOrigin(), last.GetOrigin()) / (len(files) - 1)
    letters = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(first.GetDirection())
    axes = [next(axis for axis in range(3) if letters[axis] in pair) for pair in ("SI", "AP", "LR")]
    grid = Grid(tuple(sides[axis] for axis in axes), tuple(spacing[axis] for axis in axes))
    return Header(grid, channels, kind)


@_naming_the_file
def read_scan(path: Path) -> Scan:
    """Read a scan, a file or a folder with the slices of a DICOM series, turned to ORIENTATION.

    Raises DataError if it is damaged, has NaN, or holds no scan or several.
    """
    return _read(path)


def _read(path: Path) -> Scan:
    import SimpleITK as sitk

    files = _files(path)
    header = _information(files[0])
    extra = prod(header.GetSize()[3:])
    _check(extra == 1, f"{path} holds {extra} volumes: save each as a file of its own")
    channels, count = header.GetNumberOfComponents(), prod(header.GetSize()) * len(files)
    _check(channels in (1, 3), f"{path} has {channels} channels, but must have 1 or 3")
    held = sum(Path(file).stat().st_size for file in files)
    _check(count * channels <= DEFLATE_RATIO * held, f"{path} claims more voxels than it can hold")
    check_room(str(path), 4 * channels * count, "make it smaller, or leave it out")
    if _reader(files[0]) == READERS[".nii"]:
        _check_nifti(files[0], count)
    image = sitk.ReadImage(files if len(files) > 1 else files[0], imageIO=_reader(files[0]))
    if "ITK_non_uniform_sampling_deviation" in image.GetMetaDataKeys():
        raise DataError(f"{path} has slices at unequal distances: look for those that are missing")
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    elif image.GetDimension() == 4:
        image = image[..., 0]
    image = sitk.DICOMOrient(image, ORIENTATION)
    array = sitk.GetArrayFromImage(image)
    voxels = as_voxels(f"the voxels of {path}", array if array.ndim == 4 else array[..., None])
    return Scan(voxels, Grid(voxels.shape[:3], image.GetSpacing()[::-1]))


def _files(path: Path) -> list[str]:
    """Return the files of a scan: itself, or the slices of the series in a folder, in order."""
    if not path.is_dir():
        return [str(path)]
    import SimpleITK as sitk

    sitk.ProcessObject.GlobalWarningDisplayOff()
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    _check(series, f"{path} is a folder without DICOM slices: name a file, or a folder with them")
    _check(len(series) == 1, f"{path} holds {len(series)} DICOM series: give each its own folder")
    return list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series[0]))


def _reader(file: str) -> str:
    return next((READERS[end] for end in ENDINGS if file.lower().endswith(end)), SERIES)


def _information(file: str) -> Any:
    """Return SimpleITK's reader of a file after it has read the header."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    if _reader(file) == READERS[".nrrd"]:
        _check_nrrd(file)
    reader.SetImageIO(_reader(file))
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader


def _check_nifti(file: str, count: int) -> None:
    """Raise DataError if a NIfTI file of `count` voxels is cut off or has NaN.

    SimpleITK reads zeros instead. The fields are `datatype`, `bitpix` and `vox_offset` of nifti1.h;
    SimpleITK does not read NIfTI-2.
    """
    with gzip.open(file) if file.lower().endswith(".gz") else Path(file).open("rb") as content:
        try:
            header = content.read(112)
            order = "<" if int.from_bytes(header[:4], "little") < 2**16 else ">"
            code, bits = struct.unpack_from(f"{order}hh", header, 70)
            (offset,) = struct.unpack_from(f"{order}f", header, 108)
            content.seek(int(offset))
            left = count * bits // 8
            while left and (block := content.read(min(left, BLOCK))):
                left -= len(block)
                if code in FLOATS:
                    numbers = np.frombuffer(block, f"{order}{FLOATS[code]}")
                    check_finite(f"the voxels of {file}", numbers)
            while content.read(BLOCK):  # to the checksum at the end of compressed files
                pass
        except UsageError:
            raise
        except (EOFError, OSError, ValueError, OverflowError, struct.error, zlib.error):
            left = 1
    _check(left == 0, f"{file} is cut off or damaged: copy it again, or leave it out")


def _check_nrrd(file: str) -> None:
    """Raise DataError for a header with a long line: SimpleITK's reader of NRRD would crash."""
    with Path(file).open("rb") as content:
        for line in iter(lambda: content.readline(BLOCK).strip(), b""):
            is_long = len(line) > LONGEST_LINE and b":=" not in line and not line.startswith(b"#")
            _check(not is_long, f"{file} has a damaged header: copy it again, or leave it out")


def _check(condition: object, message: str) -> None:
    if not condition:
        raise DataError(message)


def check_spacing(spacing: Any) -> tuple[float, ...] | None:
    """Return a checkpoint's spacing, or None; raise UsageError unless it has three numbers."""
    if spacing is None:
        return None
    checked = check_each("spacing", spacing, check_number)
    require(len(checked) == 3 and min(checked) > 0, "its spacing is invalid")
    return checked


def common_grid(headers: Mapping[Path, Header], longest: int | None) -> Grid:
    """Return the grid for all the scans: their own, or one that holds the largest of them.

    With `longest`, the voxels of the grid are cubes, and it has that many along its longest side.
    Raises DataError if `longest` is None and the scans differ.
    """
    (first, one), *others = ((path, header.grid) for path, header in headers.items())
    if longest is None:
        for path, grid in others:
            _check(
                grid.agrees(one),
                f"scans differ in their grid ({first} has {one}, {path} has {grid}): choose the "
                "longest side for all with --volume-size",
            )
        return one
    grids = [header.grid for header in headers.values()]
    extents = np.max([np.multiply(grid.sides, grid.spacing) for grid in grids], axis=0)
    spacing = (float(extents.max()) / longest,) * 3
    largest = [max(sides) for sides in zip(*(grid.sides for grid in grids), strict=True)]
    return Grid(tuple(_sides_on(spacing, largest, extents / largest)), spacing)


def on_grid(scan: Scan, grid: Grid, kind: npt.DTypeLike) -> Voxels:
    """Return a scan's voxels on a grid, (D, H, W, C) of the type `kind`, with the same centre.

    Interpolates as `resizing.resize` does, cuts off what is outside the grid, and fills the rest
    with the scan's lowest number.
    """
    voxels, sides = scan.voxels, _sides_on(grid.spacing, *scan.grid)
    if tuple(sides) != voxels.shape[:3]:
        numbers = resize_to(voxels[None].astype(np.float32), sides)[0]
    else:
        numbers = voxels
    placed = np.full((*grid.sides, voxels.shape[-1]), voxels.min(), numbers.dtype)
    pairs = [_overlap(*pair) for pair in zip(grid.sides, sides, strict=True)]
    placed[tuple(there for there, _ in pairs)] = numbers[tuple(here for _, here in pairs)]
    return rounded(placed, kind) if placed.dtype != kind else placed


def _sides_on(spacing: Any, sides: Any, own_spacing: Any) -> list[int]:
    """Return how many voxels of `spacing` cover the sides of a scan; a side of 1 stays."""
    triples = zip(spacing, sides, own_spacing, strict=True)
    return [1 if side == 1 else max(1, round(side * own / new)) for new, side, own in triples]


def _overlap(large: int, small: int) -> tuple[slice, slice]:
    """Return where two sides with the same centre overlap, in the first and in the second."""
    length, start = min(large, small), abs(large - small) // 2
    inner, whole = slice(start, start + length), slice(0, length)
    return (inner, whole) if large > small else (whole, inner)
