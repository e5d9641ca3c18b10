"""Load images or volumes from one .npz file in the format of MedMNIST v2 (Yang et al. 2023)."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn3d.data.arrays import (
    MOST_CHANNELS,
    Labels,
    Volumes,
    as_volumes,
    check_channels_last,
    check_same_shape,
    numbered_classes,
    to_labels,
)
from wrn3d.data.class_names import known_names
from wrn3d.data.dataset import SPLIT_NAMES, Dataset, columns
from wrn3d.data.npy import read_npy
from wrn3d.system.errors import DataError, reason
from wrn3d.system.files import require_file
from wrn3d.system.memory import available_memory

CHANNELS = (1, 3)
NEEDED = ("train_images", "train_labels", "test_images", "test_labels")
OPTIONAL = ("val_images", "val_labels")
DEFLATE_RATIO = 1032  # the highest compression ratio of zip's Deflate


def load(path: Path) -> Dataset:
    """Load a file with `train_images`, `train_labels`, the same for `test`, and perhaps for `val`.

    Images are uint8, (N, H, W) or (N, D, H, W), with or without a last axis of 1 or 3 channels.
    Labels are integers, (N,) or (N, 1), and each class from 0 to the largest label has a training
    sample. The file's name gives the names of the classes of well-known data sets.

    Raises MissingDataError if the file does not exist, and DataError if it has another format.
    """
    require_file(path, "dataset has to name an .npz file in MedMNIST's format")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _arrays(archive)
        splits = {
            split: _split(arrays, name)
            for split, name in SPLIT_NAMES.items()
            if f"{name}_images" in arrays
        }
        check_same_shape(volumes for volumes, _ in splits.values())
        names = numbered_classes(*(labels for _, labels in splits.values()))
    except Exception as error:  # zipfile and NumPy raise nearly anything for a damaged file
        raise DataError(
            f"{path} is not an .npz file in MedMNIST's format ({reason(error)})"
        ) from error
    names = known_names(path.stem, len(names)) or names
    return Dataset(path.stem, str(path), names, **columns(splits))


def _arrays(archive: zipfile.ZipFile) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the splits by name.

    Raises ValueError if one is missing, or if they exceed half of the free memory.
    """
    held = {name.removesuffix(".npy") for name in archive.namelist()}
    names = (*NEEDED, *OPTIONAL) if held & set(OPTIONAL) else NEEDED
    missing = [name for name in names if name not in held]
    if missing:
        raise ValueError(
            f"it lacks {', '.join(missing)}: it needs {', '.join(NEEDED)}, and may have "
            f"{' and '.join(OPTIONAL)}"
        )
    entries = [archive.getinfo(f"{name}.npy") for name in names]
    claimed = sum(entry.file_size for entry in entries)
    if claimed > available_memory() / 2:
        raise ValueError(
            f"its arrays would take {claimed / 2**30:,.1f} GiB, more than half of the free memory"
        )
    return {Path(entry.filename).stem: _array(archive, entry) for entry in entries}


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """Return an entry's array; raise ValueError if the entry cannot have its claimed size."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename} has a compression that np.savez never uses")
    if entry.file_size > (max(1, entry.compress_size) + 1) * DEFLATE_RATIO:
        raise ValueError(f"{entry.filename} claims more data than it can hold")
    with archive.open(entry) as file:
        return read_npy(file, entry.filename, entry.file_size)


def _split(arrays: dict[str, npt.NDArray[Any]], name: str) -> tuple[Volumes, Labels]:
    """Return the volumes (N, D, H, W, C) uint8 and the labels (N,) int64 of a split."""
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    if not images.size:
        advice = ": leave out val_images and val_labels" if f"{name}_images" in OPTIONAL else ""
        raise ValueError(f"its {name}_images hold no images{advice}")
    if images.dtype != np.uint8 or images.ndim not in (3, 4, 5):
        raise ValueError(
            f"its {name}_images are {images.dtype} of the shape {images.shape}, but must be uint8 "
            "of (N, H, W) or (N, D, H, W), with or without channels"
        )
    labels = to_labels(f"its {name}_labels", labels, len(images))
    if images.ndim == 4 and images.shape[-1] not in CHANNELS:
        _check_no_channels(name, images.shape)
        images = images[..., None]
    elif images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4:
        images = as_volumes(images)
    check_channels_last(f"its {name}_images", images.shape)
    if images.shape[-1] not in CHANNELS:
        raise ValueError(f"its {name}_images have {images.shape[-1]} channels, not 1 or 3")
    return np.ascontiguousarray(images), labels


def _check_no_channels(name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError if the first or the last axis of (D, H, W) is plausibly channels."""
    _, depth, height, width = shape
    if 1 < depth <= MOST_CHANNELS < min(height, width):
        axes, advice = "(N, C, H, W)", "move the channels last with np.moveaxis(images, 1, -1)"
    elif width <= MOST_CHANNELS < min(depth, height):
        axes, advice = "(N, H, W, C)", "keep 1 or 3 channels"
    else:
        return
    raise ValueError(
        f"its {name}_images have the shape {shape}, which looks like {axes}: {advice}, or add an "
        "axis to volumes with images[..., None]"
    )
