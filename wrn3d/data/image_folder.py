"""Load pictures in folders: train/<class>/*.png, test/<class>/*.jpg."""

import os
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import numpy as np

from wrn3d.data.arrays import as_volumes
from wrn3d.data.dataset import SPLIT_NAMES, Dataset, columns
from wrn3d.data.pictures import ENDINGS, picture_size, read_picture
from wrn3d.system.errors import DataError, reason
from wrn3d.system.memory import check_room


def is_image_folder(path: str | Path) -> bool:
    """Return whether the folder `path` has a folder train/."""
    return os.path.isdir(os.path.join(path, SPLIT_NAMES["train"]))


def load(path: Path, side: int | None = None) -> Dataset:
    """Load a folder with train/<class>/, test/<class>/ and perhaps val/<class>/.

    Pictures become RGB squares of `side` pixels; without `side`, all must have the same size. The
    training pictures are shuffled by a checksum of their names, so that the last ones make a
    validation split with all classes.

    Raises DataError for damaged pictures, missing folders and classes without pictures.
    """
    folders = {split: path / name for split, name in SPLIT_NAMES.items()}
    try:
        names = _classes(folders["train"])
        files = {
            split: _files(folder, names)
            for split, folder in folders.items()
            if split != "validation" or folder.is_dir()
        }
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read ({reason(error)}): put pictures into "
            "train/<class>/ and test/<class>/"
        ) from error
    if len(names) < 2:
        raise DataError(
            f"{folders['train']} has {len(names)} class folders, but needs two or more: make one "
            "for each class"
        )
    empty = set(range(len(names))) - {label for _, label in files["train"]}
    if empty:
        raise DataError(
            f"{folders['train'] / names[min(empty)]} holds no pictures: add some, or "
            "delete the folder"
        )
    files["train"].sort(key=lambda picture: _sorting_key(*picture))
    size = (side, side) if side else _common_size(chain(*files.values()))
    count = sum(map(len, files.values()))
    check_room(f"the {count:,} pictures in {path}", count * size[0] * size[1] * 3)
    splits = {split: _read(pictures, size) for split, pictures in files.items()}
    return Dataset(path.name, str(path), tuple(names), **columns(splits))


def _classes(folder):
    """Return the names of the folders in `folder`, except for hidden ones."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )


def _files(folder, names):
    """Return [(file, label)], sorted by class and file name."""
    others = [name for name in _classes(folder) if name not in names]
    if others:
        raise DataError(
            f"{folder} has a class {others[0]!r} that train/ lacks: add it there, or delete it"
        )
    pictures = [
        (file, label)
        for label, name in enumerate(names)
        if (folder / name).is_dir()
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in ENDINGS and file.is_file()
    ]
    if not pictures:
        raise DataError(
            f"{folder} holds no pictures: put {', '.join(ENDINGS)} files into its class folders"
        )
    return pictures


def _sorting_key(file, label):
    """Return a checksum of the picture's class and name: sorting by it mixes the classes."""
    return blake2b(f"{label}/{file.name}".encode("utf-8", "surrogateescape")).digest()


def _common_size(files):
    """Return (height, width) of all the pictures; raise DataError if they differ."""
    sizes = {}
    for file, _ in files:
        sizes.setdefault(picture_size(file), file)
    if len(sizes) > 1:
        (size, file), (other_size, other), *_ = sizes.items()
        raise DataError(
            f"pictures differ in size ({file} is {size[1]}x{size[0]}, {other} is "
            f"{other_size[1]}x{other_size[0]}): choose one side for all with --volume-size"
        )
    return next(iter(sizes))


def _read(files, size):
    """Return the pictures as volumes (N, 1, H, W, 3) uint8 and their labels (N,) int64."""
    images = np.stack([read_picture(file, size) for file, _ in files])
    return as_volumes(images), np.array([label for _, label in files], np.int64)
