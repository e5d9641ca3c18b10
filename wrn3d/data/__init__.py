"""The data sets by name."""
from pathlib import Path

from wrn3d.data import cifar, digits, medmnist
from wrn3d.data.dataset import Dataset
from wrn3d.errors import UsageError

__all__ = ["NAMES", "Dataset", "check_name", "load_dataset"]

_LOADERS = {
    "cifar10": lambda data_dir: cifar.load(cifar.CIFAR10, data_dir),
    "cifar100": lambda data_dir: cifar.load(cifar.CIFAR100, data_dir),
    "digits": lambda data_dir: digits.load(),
}
NAMES = tuple(_LOADERS)
FILE_ENDING = ".npz"


def load_dataset(name: str, data_dir="data") -> Dataset:
    """The data set called `name`, one of NAMES, from `data_dir` or the network, or the one in an
    .npz file of that path.

    Raises UsageError for another name, MissingDataError where it can't be had, DataError where
    its files are not what they should be.
    """
    check_name(name)
    if name.endswith(FILE_ENDING):
        return medmnist.load(Path(name))
    return _LOADERS[name](Path(data_dir))


def check_name(name: str) -> None:
    """Raise UsageError unless `name` is a data set's, or may be a file's."""
    if not (isinstance(name, str) and (name in NAMES or name.endswith(FILE_ENDING))):
        raise UsageError(f"dataset is {name!r}, but must be {', '.join(NAMES)} or the path of an "
                         f"{FILE_ENDING} file")
