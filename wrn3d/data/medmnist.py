"""Images or volumes in one .npz file, in the format of MedMNIST v2 (Yang et al. 2023)."""

import zipfile
from pathlib import Path

import numpy as np

from wrn3d.data.dataset import SPLIT_NAMES, Dataset, as_volumes
from wrn3d.data.npy import read_npy
from wrn3d.system.errors import DataError, reason
from wrn3d.system.files import require_file
from wrn3d.system.memory import available_memory

CHANNELS = (1, 3)


def load(path: Path) -> Dataset:
    """`train_images`, `train_labels`, and the same for `val` and `test`.

    Images are uint8, of the shape (N, D, H, W), (N, H, W), or with 1 or 3 channels last; labels
    are whole numbers from 0 up, (N,) or (N, 1). Raises MissingDataError or DataError.
    """
    require_file(path, "dataset has to name an .npz file in MedMNIST's format")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _arrays(archive)
        splits = {name: _split(arrays, theirs) for name, theirs in SPLIT_NAMES.items()}
        shapes = {volumes.shape[1:] for volumes, _ in splits.values()}
        if len(shapes) > 1:
            raise ValueError(
                "the images of its splits have different sizes: "
                f"{', '.join(map(str, sorted(shapes)))}"
            )
        count = 1 + max(int(labels.max()) for _, labels in splits.values())
        if count < 2 or len(np.unique(splits["train"][1])) < count:
            raise ValueError(f"its training labels are not each of 0 to {max(count, 2) - 1}")
    except Exception as error:  # zipfile and NumPy raise nearly anything for a damaged file
        raise DataError(f"{path} is no .npz file in MedMNIST's format ({reason(error)})") from error
    return Dataset(
        path.stem,
        str(path),
        tuple(map(str, range(count))),
        *splits["train"],
        *splits["test"],
        *splits["validation"],
    )


def _arrays(archive):
    """{name: array} of the six that are needed."""
    entries = [
        archive.getinfo(f"{split}_{kind}.npy")
        for split in SPLIT_NAMES.values()
        for kind in ("images", "labels")
    ]
    claimed = sum(entry.file_size for entry in entries)
    if claimed > available_memory() / 2:
        raise ValueError(
            f"its arrays would take {claimed / 2**30:,.1f} GiB, more than half of the "
            "memory that is free"
        )
    return {Path(entry.filename).stem: _array(archive, entry) for entry in entries}


def _array(archive, entry):
    """What the array's header claims has to be what the archive's directory says, and that what the
    compression can do."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename} is compressed as np.savez never does")
    if entry.file_size > max(1, entry.compress_size) * 1032 + 1032:  # deflate's best
        raise ValueError(f"{entry.filename} claims more than it can hold")
    with archive.open(entry) as file:
        return read_npy(file, entry.filename, entry.file_size)


def _split(arrays, name):
    """(volumes (N, D, H, W, C) uint8, labels (N,) int64)."""
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4, 5) or not images.size:
        raise ValueError(
            f"its {name}_images are {images.dtype} of the shape {images.shape}, but "
            "must be uint8 of (N, H, W) or (N, D, H, W), with or without channels"
        )
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(images),), (len(images), 1)):
        raise ValueError(
            f"its {name}_labels are {labels.dtype} of the shape {labels.shape}, but "
            f"must be {len(images):,} whole numbers"
        )
    labels = labels.reshape(-1).astype(np.int64)
    if labels.min() < 0:
        raise ValueError(f"its {name}_labels are not from 0 up")
    if images.ndim == 3 or (images.ndim == 4 and images.shape[-1] not in CHANNELS):
        images = images[..., None]
    if images.ndim == 4:
        images = as_volumes(images)
    if images.shape[-1] not in CHANNELS:
        raise ValueError(f"its {name}_images have {images.shape[-1]} channels, not 1 or 3")
    return np.ascontiguousarray(images), labels
