"""Load a data set by its name or its path."""

from os import PathLike, fspath
from pathlib import Path

from wrn3d.data import cifar, digits, image_folder, medmnist
from wrn3d.data.dataset import Dataset
from wrn3d.data.resizing import resized_shape
from wrn3d.system.checks import check_count, check_path
from wrn3d.system.errors import UsageError, quoted

_DOWNLOADED = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}
_LOADERS = {
    "cifar10": lambda data_dir: cifar.load(cifar.CIFAR10, data_dir),
    "cifar100": lambda data_dir: cifar.load(cifar.CIFAR100, data_dir),
    "digits": lambda data_dir: digits.load(),
}
NAMES = tuple(_LOADERS)
FILE_ENDING = ".npz"


def load_dataset(
    name: str | Path, data_dir: str | Path = "data", volume_size: int | None = None
) -> Dataset:
    """Load one of NAMES, an .npz file, or a folder of pictures, by its name or path.

    CIFAR-10 and CIFAR-100 are read from `data_dir`, and downloaded to it first if they are not
    there. With `volume_size`, all volumes are resized to that longest side, in voxels.

    Raises UsageError for an unknown name or a wrong size, MissingDataError for data that are
    missing and cannot be downloaded, and DataError for damaged or unsuitable files.
    """
    name = check_name(name)
    data_dir = check_path("data_dir", data_dir)
    if volume_size is not None:
        check_count("volume_size", volume_size)
    if name not in NAMES and image_folder.is_image_folder(name):
        return image_folder.load(Path(name), volume_size)
    is_file = name.endswith(FILE_ENDING)
    dataset = medmnist.load(Path(name)) if is_file else _LOADERS[name](data_dir)
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

    Raises UsageError unless it is one of NAMES, ends in .npz, or is a folder of pictures.
    """
    text = fspath(name) if isinstance(name, PathLike) else name
    if not (
        isinstance(text, str)
        and (text in NAMES or text.endswith(FILE_ENDING) or image_folder.is_image_folder(text))
    ):
        raise UsageError(
            f"dataset is {quoted(name)}, but must be {', '.join(NAMES)}, the path of "
            f"an {FILE_ENDING} file, or the path of a folder with train/<class>/ in it"
        )
    return text
