"""Load pictures in folders: train/<class>/*.png, test/<class>/*.jpg."""

import os
import warnings
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import numpy as np

from wrn3d.data.arrays import Labels, Volumes, as_volumes
from wrn3d.data.class_folders import Picture, find_pictures
from wrn3d.data.dataset import SPLIT_NAMES, Dataset, columns
from wrn3d.data.fitting import Resizing
from wrn3d.data.pictures import ENDINGS, picture_size, read_picture, warn_if_dark
from wrn3d.system.errors import DataError
from wrn3d.system.memory import check_room
from wrn3d.system.words import counted


def is_image_folder(path: str | Path) -> bool:
    """Return whether the folder `path` has a folder train/."""
    return os.path.isdir(os.path.join(path, SPLIT_NAMES["train"]))


def load(path: Path, side: int | None = None) -> Dataset:
    """Load a folder with train/<class>/, test/<class>/ and perhaps val/<class>/.

    Pictures become RGB squares of `side` pixels; without `side`, all must have the same size. The
    training pictures are shuffled by a checksum of their names, so that the last ones make a
    validation split with all classes. Warns of files that are not read, and of pictures that are
    nearly black.

    Raises DataError for damaged pictures, missing folders and classes without pictures.
    """
    found = find_pictures(path)
    files = found.pictures
    files["train"].sort(key=_sorting_key)
    size = (side, side) if side else _common_size(chain(*files.values()))
    count = sum(map(len, files.values()))
    check_room(f"the {counted(count, 'picture')} in {path}", count * size[0] * size[1] * 3)
    splits = {split: _read(pictures, size) for split, pictures in files.items()}
    warn_if_dark(f"every picture in {path}", [volumes for volumes, _ in splits.values()])
    if found.others:
        warnings.warn(
            f"{len(found.others):,} of the files and folders in {path} are not read, such as "
            f"{min(found.others)}: pictures are files in train/<class>/, test/<class>/ or "
            f"val/<class>/ that end in {', '.join(ENDINGS)} and do not begin with a dot",
            stacklevel=2,
        )
    resizing = (Resizing("bicubic", (1, *size)),) if side else ()
    return Dataset(path.name, str(path), found.class_names, **columns(splits), resizing=resizing)


def _sorting_key(picture: Picture) -> bytes:
    """Return a checksum of the picture's class and name: sorting by it mixes the classes."""
    name = f"{picture.label}/{picture.name}"
    return blake2b(name.encode("utf-8", "surrogateescape")).digest()


def _common_size(pictures: Iterable[Picture]) -> tuple[int, int]:
    """Return (height, width) of all the pictures; raise DataError if they differ."""
    sizes: dict[tuple[int, int], Path] = {}
    for file, *_ in pictures:
        sizes.setdefault(picture_size(file), file)
    if len(sizes) > 1:
        (size, file), (other_size, other), *_ = sizes.items()
        raise DataError(
            f"pictures differ in size ({file} is {size[1]}x{size[0]}, {other} is "
            f"{other_size[1]}x{other_size[0]}): choose one side for all with --volume-size"
        )
    return next(iter(sizes))


def _read(pictures: Sequence[Picture], size: tuple[int, int]) -> tuple[Volumes, Labels]:
    """Return the pictures as volumes (N, 1, H, W, 3) uint8 and their labels (N,) int64."""
    images = np.stack([read_picture(picture.file, size=size) for picture in pictures])
    return as_volumes(images), np.array([picture.label for picture in pictures], np.int64)
