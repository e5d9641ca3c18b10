"""Read scans, NIfTI, NRRD, MetaImage and DICOM, through SimpleITK."""

import gzip
import struct
import zlib
from collections.abc import Callable
from functools import wraps
from math import dist, prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from wrn3d.data.grids import Grid, Scan
from wrn3d.data.npy import DEFLATE_RATIO
from wrn3d.data.voxels import Voxels, as_voxels, check_finite
from wrn3d.system.errors import DataError, UsageError, UserError, printable
from wrn3d.system.files import atomic_file
from wrn3d.system.memory import check_room
from wrn3d.system.terminal import without_native_messages

NIFTI, NRRD, META, DICOM = "NiftiImageIO", "NrrdImageIO", "MetaImageIO", "GDCMImageIO"
READERS = {  # by a file's ending; without a name, SimpleITK tries all that it has
    ".nii": NIFTI,
    ".nii.gz": NIFTI,
    ".nrrd": NRRD,
    ".mha": META,
    ".dcm": DICOM,
}
ENDINGS = tuple(READERS)
ORIENTATION = "RAS"  # columns run to the right, rows to the front, slices upwards
KINDS = {  # by SimpleITK's names; wider types become float32
    "8-bit unsigned integer": np.uint8,
    "8-bit signed integer": np.int16,
    "16-bit signed integer": np.int16,
    "16-bit unsigned integer": np.uint16,
}
LONGEST_LINE = 500  # of a text header, in bytes; a line for three axes has about 100
FLOATS = {16: "f4", 64: "f8"}  # by NIfTI's codes
BLOCK = 2**20  # bytes

Content = TypeVar("Content")


class Header(NamedTuple):
    """A scan's grid, its number of channels, and the type that holds its numbers."""

    grid: Grid
    channels: int
    kind: npt.DTypeLike


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
    """Return the header of the scan that `read_scan` returns; mostly without reading its voxels.

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

    image = sitk.DICOMOrient(_image(path), ORIENTATION)
    array = sitk.GetArrayFromImage(image)
    voxels = as_voxels(f"the voxels of {path}", array if array.ndim == 4 else array[..., None])
    return Scan(voxels, Grid(voxels.shape[:3], image.GetSpacing()[::-1]))


def _image(path: Path) -> Any:
    """Return a scan as an image of SimpleITK with three axes."""
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
    if _reader(files[0]) == NIFTI:
        _check_nifti(files[0], count)
    image = sitk.ReadImage(files if len(files) > 1 else files[0], imageIO=_reader(files[0]))
    if "ITK_non_uniform_sampling_deviation" in image.GetMetaDataKeys():
        raise DataError(f"{path} has slices at unequal distances: look for those that are missing")
    if image.GetDimension() == 2:
        return sitk.JoinSeries(image)
    return image[..., 0] if image.GetDimension() == 4 else image


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
    return next((READERS[end] for end in ENDINGS if file.lower().endswith(end)), DICOM)


def _information(file: str) -> Any:
    """Return SimpleITK's reader of a file after it has read the header."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    if _reader(file) in (NRRD, META):
        _check_header(file)
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


def _check_header(file: str) -> None:
    """Raise DataError for a text header that would crash SimpleITK's readers.

    That is one of NRRD or MetaImage with a long line, or of MetaImage with too many axes.
    """
    with Path(file).open("rb") as content:
        for line in iter(lambda: content.readline(BLOCK).strip(), b""):
            is_free = b":=" in line or line.startswith((b"#", b"Comment"))
            is_damaged = len(line) > LONGEST_LINE and not is_free
            if line.startswith(b"NDims"):
                axes = line.partition(b"=")[2].strip()
                is_damaged = axes not in (b"2", b"3", b"4")
            _check(not is_damaged, f"{file} has a damaged header: copy it again, or leave it out")
            if line.startswith(b"ElementDataFile"):
                break


def _check(condition: object, message: str) -> None:
    if not condition:
        raise DataError(message)


def write_map(path: Path, numbers: Voxels, scan: Path) -> None:
    """Write numbers (D, H, W) about a scan, turned to ORIENTATION, as NIfTI in its own geometry.

    Raises what `atomic_file` raises, and DataError if the scan cannot be read again.
    """
    import SimpleITK as sitk

    original = _naming_the_file(_image)(scan)
    turned = sitk.GetImageFromArray(np.ascontiguousarray(numbers, np.float32))
    turned.CopyInformation(sitk.DICOMOrient(original, ORIENTATION))
    letters = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(
        original.GetDirection()
    )
    with atomic_file(path) as unfinished:
        sitk.WriteImage(sitk.DICOMOrient(turned, letters), str(unfinished), imageIO=NIFTI)
