"""Find what to classify: files, folders, the images in an .npz file, and stacks in .npy files."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data import scans
from wrn3d.data.files import ARRAY
from wrn3d.data.load import NPZ
from wrn3d.data.medmnist import images_to_classify
from wrn3d.data.npy import fits, open_array
from wrn3d.data.pictures import ENDINGS
from wrn3d.system.errors import DataError
from wrn3d.training.inputs import Input, array_input, read_input
from wrn3d.training.trained import TrainedNetwork

EXPLANATION = ".explain."  # in the names of files about an input
SLICE = ".dcm"  # usually one of many in a folder


class Source(NamedTuple):
    """One picture or volume: its name, a name for files about it, and a function to read it."""

    name: str
    stem: str
    read: Callable[[TrainedNetwork], Input]
    path: Path | None = None  # None for a row of an array


def find_sources(path: Path, network: TrainedNetwork) -> list[Source]:
    """Return the pictures and volumes at a path.

    In a folder these are all files with known endings, also in its visible subfolders, and each
    folder with slices of a DICOM series. What is damaged or empty raises DataError when it is read,
    so that it does not lose the others.
    """
    if not path.is_dir():
        return _in_file(path, network)
    found = [source for file in _readable(path) for source in _in_file(file, network)]
    if found:
        return found
    if any(entry.is_file() and not entry.name.startswith(".") for entry in path.iterdir()):
        return [_whole(path)]  # perhaps DICOM slices without an ending
    advice = "name files, or a folder with some"
    return [_broken(path, DataError(f"{path} holds no pictures or volumes: {advice}"))]


def _in_file(path: Path, network: TrainedNetwork) -> list[Source]:
    """Return the rows of an array with several volumes, or the whole file."""
    try:
        return _parts(path, network)
    except DataError as error:
        return [_broken(path, error)]


def _parts(path: Path, network: TrainedNetwork) -> list[Source]:
    """Return what `_in_file` does; raise DataError for a damaged array."""
    ending = path.suffix.lower()
    if ending == NPZ and path.is_file():
        return _rows(path, images_to_classify(path))
    if ending == ARRAY and path.is_file():
        array, shape = open_array(path), network.spec.input_shape
        if not fits(array.shape, shape) and fits(array.shape[1:], shape):
            return _rows(path, array)
    return [_whole(path)]


def _whole(path: Path) -> Source:
    return Source(str(path), stem(path), lambda network: read_input(network, path), path)


def _broken(path: Path, error: DataError) -> Source:
    def read(network: TrainedNetwork) -> Input:
        raise error

    return Source(str(path), stem(path), read, path)


def stem(path: Path) -> str:
    """Return a file's name without its ending."""
    endings = [one for one in scans.ENDINGS if path.name.lower().endswith(one)]
    if endings:
        return path.name[: -len(max(endings, key=len))]
    return path.stem or path.resolve().name


def _rows(path: Path, array: npt.NDArray[Any]) -> list[Source]:
    def read(row: int, name: str, network: TrainedNetwork) -> Input:
        return array_input(network, name, np.asarray(array[row]))

    names = [f"{path}[{row}]" for row in range(len(array))]
    return [
        Source(name, f"{stem(path)}-{row}", partial(read, row, name))
        for row, name in enumerate(names)
    ]


def _readable(folder: Path) -> Iterator[Path]:
    """Yield the files with known endings in a folder and its subfolders, and folders of slices."""
    for inner, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # Not the maps and pictures that explain others.
        names = sorted(name for name in files if name[0] != "." and EXPLANATION not in name)
        if any(name.lower().endswith(SLICE) for name in names):
            yield Path(inner)
        for name in names:
            lower = name.lower()
            if lower.endswith((*ENDINGS, ARRAY, NPZ, *scans.ENDINGS)) and not lower.endswith(SLICE):
                yield Path(inner, name)
