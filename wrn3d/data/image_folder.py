"""Pictures in folders: train/<class>/*.png, test/<class>/*.jpg."""

import os
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import numpy as np

from wrn3d.data.dataset import SPLIT_NAMES, Dataset, as_volumes
from wrn3d.data.pictures import ENDINGS, picture_size, read_picture
from wrn3d.system.errors import DataError, reason
from wrn3d.system.memory import check_room


def is_image_folder(path) -> bool:
    """Whether it may be one."""
    return os.path.isdir(os.path.join(path, SPLIT_NAMES["train"]))


def load(path: Path, side=None) -> Dataset:
    """Each class a folder of that name in train/ and test/, and in val/ if that is there. Pictures
    are cut to a square of `side`, in RGB; without one they have to be of one size. Those to train
    on come in an order that their names decide, classes mixed, of which the end can be set aside.

    Raises DataError.
    """
    folders = {ours: path / theirs for ours, theirs in SPLIT_NAMES.items()}
    try:
        names = _classes(folders["train"])
        files = {
            split: _files(folder, names)
            for split, folder in folders.items()
            if split != "validation" or folder.is_dir()
        }
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be used ({reason(error)}): pictures are "
            "expected in train/<class>/ and test/<class>/"
        ) from error
    if len(names) < 2:
        raise DataError(f"{folders['train']} holds {len(names)} classes: make a folder for each")
    empty = set(range(len(names))) - {label for _, label in files["train"]}
    if empty:
        raise DataError(
            f"{folders['train'] / names[min(empty)]} holds no pictures: put some into "
            "it, or take it away"
        )
    files["train"].sort(key=lambda found: _shuffled(*found))
    side = (side, side) if side else _common_side(chain(*files.values()))
    count = sum(map(len, files.values()))
    check_room(f"the {count:,} pictures in {path}", count * side[0] * side[1] * 3)
    arrays = {
        f"{split}_{kind}": array
        for split, found in files.items()
        for kind, array in zip(("volumes", "labels"), _read(found, side), strict=True)
    }
    return Dataset(path.name, str(path), tuple(names), **arrays)


def _classes(folder):
    """The names of its folders, but for those that are hidden."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )


def _files(folder, names):
    """[(file, label)], in the order of their names."""
    others = [name for name in _classes(folder) if name not in names]
    if others:
        raise DataError(f"{folder} has a class {others[0]!r}, which train/ has not")
    found = [
        (file, label)
        for label, name in enumerate(names)
        if (folder / name).is_dir()
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in ENDINGS and file.is_file()
    ]
    if not found:
        raise DataError(
            f"{folder} holds no pictures: put {', '.join(ENDINGS)} files into its "
            "folders, one for each class"
        )
    return found


def _shuffled(file, label):
    return blake2b(f"{label}/{file.name}".encode("utf-8", "surrogateescape")).digest()


def _common_side(files):
    """(height, width) of all of them."""
    sizes = {}
    for file, _ in files:
        sizes.setdefault(picture_size(file), file)
    if len(sizes) > 1:
        (first, one), (second, other), *_ = sizes.items()
        raise DataError(
            f"pictures differ in size ({one} is {first[1]}x{first[0]}, {other} "
            f"{second[1]}x{second[0]}): name one side for all with --volume-size"
        )
    return next(iter(sizes))


def _read(files, side):
    """(volumes (N, 1, H, W, 3) uint8, labels (N,) int64)."""
    images = np.stack([read_picture(file, side) for file, _ in files])
    return as_volumes(images), np.array([label for _, label in files], np.int64)
