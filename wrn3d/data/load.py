"""Load a data set by its name or its path."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from wrn3d.data import cifar, digits, image_folder, medmnist, table
from wrn3d.data.dataset import SPLITS, Dataset
from wrn3d.data.grids import Grid
from wrn3d.data.listing import joined
from wrn3d.data.resizing import resized_shape
from wrn3d.data.splitting import Fold, held_out
from wrn3d.data.windows import Window, parsed
from wrn3d.system.checks import check_choice, check_count, check_path, require
from wrn3d.system.errors import UsageError, quoted

_DOWNLOADED = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}
_LOADERS = {
    "cifar10": lambda data_dir: cifar.load(cifar.CIFAR10, data_dir),
    "cifar100": lambda data_dir: cifar.load(cifar.CIFAR100, data_dir),
    "digits": lambda data_dir: digits.load(),
}
NAMES = tuple(_LOADERS)
NPZ, TABLE = ".npz", ".csv"


def load_dataset(
    name: str | Path,
    data_dir: str | Path = "data",
    volume_size: int | None = None,
    window: Sequence[str | float] | None = None,
    class_names: Sequence[str] = (),
    grid: Grid | None = None,
    fold: Fold | None = None,
    only_split: str | None = None,
) -> Dataset:
    """Load one of NAMES, an .npz file, a table, or a folder of pictures, by its name or path.

    CIFAR-10 and CIFAR-100 are read from `data_dir`, and downloaded to it first if they are not
    there. With `volume_size`, all volumes are resized to that longest side, in voxels. `window` has
    the intensities (or percentiles, such as "0.5%") that become the levels 0 and 255. `class_names`
    name the labels of an .npz file, and are the order of those in a table. `grid` is the grid for
    the scans that a table lists; by default they decide on it. With a `fold`, its part of the
    training and validation samples validates, and the rest trains. With `only_split`, a table
    without splits is loaded as that split, and tables and .npz files need no other one.

    Raises UsageError for an unknown name or a wrong size, MissingDataError for data that are
    missing and cannot be downloaded, and DataError for damaged or unsuitable files.
    """
    name = check_name(name)
    data_dir = check_path("data_dir", data_dir)
    if volume_size is not None:
        check_count("volume_size", volume_size)
    levels = None if window is None else parsed(window)
    if only_split is not None:
        check_choice("only_split", only_split, SPLITS)
    require(
        name.endswith((NPZ, TABLE)) or not class_names,
        f"class_names are for an .npz file or a table, but {name} has names of its own: leave "
        "class_names out",
    )
    if name.endswith(TABLE):
        dataset = table.load(Path(name), volume_size, levels, grid, fold, class_names, only_split)
        return prepared(dataset, volume_size, levels)
    if name in NAMES or name.endswith(NPZ):
        is_npz = name.endswith(NPZ)
        dataset = (
            medmnist.load(Path(name), class_names, only_split)
            if is_npz
            else _LOADERS[name](data_dir)
        )
        return prepared(in_fold(dataset, fold), volume_size, levels)
    require(levels is None, f"{name} holds pictures, which have no window: leave window out")
    return in_fold(image_folder.load(Path(name), volume_size), fold)


def in_fold(dataset: Dataset, fold: Fold | None) -> Dataset:
    """Return a data set whose validation split is a fold of its training and validation samples.

    Raises UsageError if a class has fewer samples than there are folds.
    """
    if fold is None:
        return dataset
    names = [name for name in SPLITS[:2] if len(getattr(dataset, f"{name}_labels"))]
    volumes, labels = map(np.concatenate, zip(*map(dataset.split, names), strict=True))
    listing = joined([dataset.listings.get(name) for name in names])
    others = {"test": dataset.listings["test"]} if "test" in dataset.listings else {}
    merged = replace(
        dataset,
        train_volumes=volumes,
        train_labels=labels,
        validation_volumes=volumes[:0],
        validation_labels=labels[:0],
        listings=others | ({"train": listing} if listing else {}),
    )
    groups = listing.group_numbers if listing else np.arange(len(labels))
    inside = held_out(labels, groups, fold, dataset.class_names)
    return merged.divided({"train": ~inside, "validation": inside})


def prepared(dataset: Dataset, volume_size: int | None, window: Window | None) -> Dataset:
    """Return a data set `windowed`, then `resized`, each if asked for and not done yet.

    Raises UsageError if it has another window already, and what these two raise.
    """
    is_new = window not in (None, dataset.window)
    require(
        not is_new or dataset.window is None,
        f"{dataset.title} already has the levels of another window: leave window out",
    )
    if window and is_new:
        dataset = dataset.windowed(window)
    return dataset.resized(volume_size) if volume_size else dataset


def known_shape(
    name: str, volume_size: int | None = None
) -> tuple[str, tuple[int, ...], int] | None:
    """Return (title, volume shape (D, H, W, C), classes) of data that may have to be downloaded.

    Returns None for other data. With `volume_size` the shape is the resized one.
    """
    if name not in _DOWNLOADED:
        return None
    data, sides = _DOWNLOADED[name], (1, cifar.SIDE, cifar.SIDE)
    shape = resized_shape(sides, volume_size or cifar.SIDE)
    return data.title, (*shape, cifar.CHANNELS), data.num_classes


def check_name(name: object) -> str:
    """Return the name or path as text.

    Raises UsageError unless it is one of NAMES, ends in .npz or .csv, or is a folder of pictures.
    """
    text = fspath(name) if isinstance(name, PathLike) else name
    if not (
        isinstance(text, str)
        and (text in NAMES or text.endswith((NPZ, TABLE)) or image_folder.is_image_folder(text))
    ):
        raise UsageError(
            f"dataset is {quoted(name)}, but must be {', '.join(NAMES)}, the path of an {NPZ} "
            f"file or of a table ({TABLE}), or the path of a folder with train/<class>/ in it"
        )
    return text
