"""Load images or volumes from one .npz file in the format of MedMNIST v2 (Yang et al. 2023)."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from wrn3d.data.arrays import (
    Labels,
    Volumes,
    alike,
    columns,
    images_of_file,
    named_classes,
    numbered_classes,
    to_labels,
    with_empty_training,
)
from wrn3d.data.class_names import known_names
from wrn3d.data.dataset import SPLIT_NAMES, Dataset
from wrn3d.data.npy import DEFLATE_RATIO, read_npy
from wrn3d.system.errors import DataError, reason
from wrn3d.system.files import require_file
from wrn3d.system.memory import available_memory, in_gib

NEEDED = ("train", "test")  # splits
CLASS_NAMES = "class_names"  # an array of texts


def load(path: Path, class_names: Sequence[str] = (), only_split: str | None = None) -> Dataset:
    """Load a file with `train_images`, `train_labels`, the same for `test`, and perhaps for `val`.

    With `only_split`, the file needs no other one.

    Images are (N, H, W) or (N, D, H, W), with or without a last axis of 1 or 3 channels, in a type
    that `as_voxels` takes. Labels are integers, (N,) or (N, 1). The names of the classes are
    `class_names`, or an array of that name in the file, or those of a well-known data set by the
    file's name. Without names, each class from 0 to the largest label needs a training sample. With
    `only_split`, `class_names` are for a file that has neither names nor a training split.

    Raises MissingDataError if the file does not exist, and DataError if it has another format.
    """
    require_file(path, "dataset has to name an .npz file in MedMNIST's format")
    try:
        with zipfile.ZipFile(path) as archive:
            needed = (SPLIT_NAMES[only_split],) if only_split else NEEDED
            arrays = _arrays(archive, needed)
        splits = {
            split: _split(arrays, name)
            for split, name in SPLIT_NAMES.items()
            if f"{name}_images" in arrays
        }
        splits = alike(splits)
        labels = [split_labels for _, split_labels in splits.values()]
        in_file: Any = arrays.get(CLASS_NAMES, ())
        if only_split:
            own_names = in_file if len(in_file) or "train" in splits else class_names
        else:
            own_names = class_names or in_file
        if len(own_names):
            names = named_classes(own_names, *labels)
        else:
            names = numbered_classes(*labels)
            names = known_names(path.stem, len(names)) or names
    except Exception as error:  # zipfile and NumPy raise nearly anything for a damaged file
        raise DataError(
            f"{path} is not an .npz file in MedMNIST's format ({reason(error)})"
        ) from error
    return Dataset(path.stem, str(path), names, **columns(with_empty_training(splits)))


def images_to_classify(path: Path) -> npt.NDArray[Any]:
    """Return a file's `test_images`, or its `images`, or its only array, (N, ...).

    Raises DataError if the file is damaged or holds other arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = [name.removesuffix(".npy") for name in archive.namelist()]
            names = [name for name in ("test_images", "images", *held[:1]) if name in held]
            if len(held) > 1 and names == held[:1]:
                raise ValueError(f"it has neither test_images nor images: {', '.join(held)}")
            if not names:
                raise ValueError("it is empty")
            [array] = _held(archive, names[:1]).values()
            if array.ndim < 2:
                raise ValueError(f"its array has the shape {array.shape}")
    except Exception as error:  # zipfile and NumPy raise nearly anything for a damaged file
        raise DataError(
            f"{path} holds no images to classify ({reason(error)}): save them with "
            "np.savez(path, images=images)"
        ) from error
    return array


def _arrays(archive: zipfile.ZipFile, needed: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the `needed` and of the other splits by name.

    Raises ValueError if one is missing, and what `_held` raises.
    """
    held = {name.removesuffix(".npy") for name in archive.namelist()}
    pairs = {split: (f"{split}_images", f"{split}_labels") for split in SPLIT_NAMES.values()}
    names = [
        name
        for split, pair in pairs.items()
        if split in needed or held & set(pair)
        for name in pair
    ]
    missing = [name for name in names if name not in held]
    if missing:
        required = [name for split in needed for name in pairs[split]]
        others = [name for split, pair in pairs.items() if split not in needed for name in pair]
        raise ValueError(
            f"it lacks {', '.join(missing)}: it needs {', '.join(required)}, and may have "
            f"{', '.join(others[:-1])} and {others[-1]}"
        )
    return _held(archive, [*names, *({CLASS_NAMES} & held)])


def _held(archive: zipfile.ZipFile, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of these names; raise ValueError if they exceed half of the memory."""
    entries = [archive.getinfo(f"{name}.npy") for name in names]
    claimed = sum(entry.file_size for entry in entries)
    if claimed > available_memory() / 2:
        raise ValueError(
            f"its arrays would take {in_gib(claimed)}, but may take half of the free memory, "
            f"{in_gib(available_memory() / 2)}"
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
    """Return the volumes (N, D, H, W, C) and the labels (N,) int64 of a split."""
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    if not images.size:
        advice = "" if name in NEEDED else f": leave out {name}_images and {name}_labels"
        raise ValueError(f"its {name}_images hold no images{advice}")
    labels = to_labels(f"its {name}_labels", labels, len(images))
    return images_of_file(f"its {name}_images", images), labels
