"""The data sets by name."""

from pathlib import Path

from wrn3d.data import cifar, digits, image_folder, medmnist
from wrn3d.data.dataset import Dataset
from wrn3d.system.errors import UsageError, quoted

__all__ = ["NAMES", "Dataset", "check_name", "load_dataset"]

_LOADERS = {
    "cifar10": lambda data_dir: cifar.load(cifar.CIFAR10, data_dir),
    "cifar100": lambda data_dir: cifar.load(cifar.CIFAR100, data_dir),
    "digits": lambda data_dir: digits.load(),
}
NAMES = tuple(_LOADERS)
FILE_ENDING = ".npz"


def load_dataset(name: str, data_dir="data", volume_size=None) -> Dataset:
    """The data set called `name`, one of NAMES, from `data_dir` or the network; or the one in an
    .npz file or a folder of pictures of that path. `volume_size`, if given, is the longest side to
    which all are resized.

    Raises UsageError for another name, MissingDataError where it can't be had, DataError where
    its files are not what they should be.
    """
    check_name(name)
    if name not in NAMES and image_folder.is_image_folder(name):
        return image_folder.load(Path(name), volume_size)
    if name.endswith(FILE_ENDING):
        dataset = medmnist.load(Path(name))
    else:
        dataset = _LOADERS[name](Path(data_dir))
    return dataset.resized(volume_size) if volume_size else dataset


def check_name(name: str) -> None:
    """Raise UsageError unless `name` is a data set's, or may be a file's or a folder's."""
    if not (
        isinstance(name, str)
        and (name in NAMES or name.endswith(FILE_ENDING) or image_folder.is_image_folder(name))
    ):
        raise UsageError(
            f"dataset is {quoted(name)}, but must be {', '.join(NAMES)}, the path of "
            f"an {FILE_ENDING} file, or that of a folder with train/<class>/ in it"
        )
