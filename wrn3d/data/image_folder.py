"""Load pictures in folders: train/<class>/*.png, test/<class>/*.jpg."""

import os
import warnings
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import numpy as np

from wrn3d.data.arrays import columns
from wrn3d.data.class_folders import Picture, find_pictures
from wrn3d.data.dataset import SPLIT_NAMES, Dataset
from wrn3d.data.files import picture_reader, read_files
from wrn3d.data.listing import Listing
from wrn3d.data.pictures import ENDINGS, warn_if_dark


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
    paths = {split: [picture.file for picture in pictures] for split, pictures in files.items()}
    reader = picture_reader(list(chain(*paths.values())), side)
    volumes = read_files(reader, paths, str(path))
    warn_if_dark(f"every picture in {path}", list(volumes.values()))
    splits = {
        split: (volumes[split], np.array([picture.label for picture in pictures], np.int64))
        for split, pictures in files.items()
    }
    if found.others:
        warnings.warn(
            f"{len(found.others):,} of the files and folders in {path} are not read, such as "
            f"{min(found.others)}: pictures are files in train/<class>/, test/<class>/ or "
            f"val/<class>/ that end in {', '.join(ENDINGS)} and do not begin with a dot",
            stacklevel=2,
        )
    return Dataset(
        path.name,
        str(path),
        found.class_names,
        **columns(splits),
        resizing=reader.resizing,
        listings={split: Listing.of(own) for split, own in paths.items()},
    )


def _sorting_key(picture: Picture) -> bytes:
    """Return a checksum of the picture's class and name: sorting by it mixes the classes."""
    name = f"{picture.label}/{picture.name}"
    return blake2b(name.encode("utf-8", "surrogateescape")).digest()
