"""Read CIFAR-10 and CIFAR-100 in their official layouts (cs.toronto.edu/~kriz/cifar.html)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wrn3d.data.arrays import as_volumes
from wrn3d.data.cifar_pickles import PickledArray, unpickle
from wrn3d.data.dataset import Dataset
from wrn3d.data.download import Archive, find_or_fetch
from wrn3d.system.errors import DataError, reason
from wrn3d.system.words import counted

SIDE, CHANNELS = 32, 3
PIXELS = SIDE * SIDE * CHANNELS
TRAIN_TO_TEST = 5  # both data sets have five training images to one test image
# An upper bound for an image with its label and file name. Python 3 pickles bytes as text, which
# may take two bytes for each byte.
BYTES_PER_IMAGE = 2 * PIXELS + 100


@dataclass(frozen=True)
class Layout:
    """An official layout of a data set: its archive and the names of its files."""

    archive: Archive
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    binary: bool


@dataclass(frozen=True)
class Cifar:
    """The differences between CIFAR-10 and CIFAR-100.

    No file holds more than `most_images` images. In the binary layout, `label_bytes` bytes precede
    each image, and the last of them is the label. `label_key` and `names_key` are keys of the
    pickled dictionaries.
    """

    title: str
    num_classes: int
    most_images: int
    label_bytes: int
    label_key: bytes
    names_key: bytes
    layouts: tuple[Layout, ...]


_SITE = "https://www.cs.toronto.edu/~kriz/"
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))

CIFAR10 = Cifar(
    "CIFAR-10",
    10,
    10_000,
    1,
    b"labels",
    b"label_names",
    (
        Layout(
            Archive(
                f"{_SITE}cifar-10-python.tar.gz",
                "c58f30108f718f92721af3b95e74349a",
                "cifar-10-batches-py",
            ),
            _BATCHES,
            "test_batch",
            "batches.meta",
            binary=False,
        ),
        Layout(
            Archive(
                f"{_SITE}cifar-10-binary.tar.gz",
                "c32a1d4ab5d03f1284b67883e8d87530",
                "cifar-10-batches-bin",
            ),
            tuple(f"{name}.bin" for name in _BATCHES),
            "test_batch.bin",
            "batches.meta.txt",
            binary=True,
        ),
    ),
)
CIFAR100 = Cifar(
    "CIFAR-100",
    100,
    50_000,
    2,
    b"fine_labels",
    b"fine_label_names",
    (
        Layout(
            Archive(
                f"{_SITE}cifar-100-python.tar.gz",
                "eb9058c3a382ffc7106e4002c42a8d85",
                "cifar-100-python",
            ),
            ("train",),
            "test",
            "meta",
            binary=False,
        ),
        Layout(
            Archive(
                f"{_SITE}cifar-100-binary.tar.gz",
                "03b5dce01913d631647c71ecec9e9cb8",
                "cifar-100-binary",
            ),
            ("train.bin",),
            "test.bin",
            "fine_label_names.txt",
            binary=True,
        ),
    ),
)


def load(cifar: Cifar, data_dir: Path) -> Dataset:
    """Load the data set from `data_dir`; unpack or download its archive there if necessary.

    Raises MissingDataError if it cannot be downloaded, and DataError for damaged files.
    """
    by_archive = {layout.archive: layout for layout in cifar.layouts}
    layout = by_archive[find_or_fetch(cifar.title, tuple(by_archive), data_dir)]
    folder = data_dir / layout.archive.folder

    train = [_read_batch(cifar, layout, folder / name) for name in layout.train_files]
    test_pixels, test_labels = _read_batch(cifar, layout, folder / layout.test_file)
    expected = len(test_labels) * TRAIN_TO_TEST // len(layout.train_files)
    for name, (_, labels) in zip(layout.train_files, train, strict=True):
        if len(labels) != expected:
            raise _unusable(
                folder / name,
                f"it holds {counted(len(labels), 'image')}, but {expected:,} belong to the "
                f"{len(test_labels):,} of {layout.test_file}",
            )
    return Dataset(
        cifar.title,
        str(folder),
        _class_names(cifar, layout, folder),
        _volumes(np.concatenate([pixels for pixels, _ in train])),
        np.concatenate([labels for _, labels in train]),
        _volumes(test_pixels),
        test_labels,
    )


def _volumes(pixels):
    """Return planar RGB (N, 3072) as volumes (N, 1, 32, 32, 3)."""
    return as_volumes(pixels.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1))


def _read_batch(cifar, layout, path):
    """Return the pixels (N, 3072) uint8 and labels (N,) int64 of a file, both checked."""
    read = _read_binary if layout.binary else _read_python
    try:
        pixels, labels = read(cifar, _content(cifar, path))
        if not 0 <= min(labels) <= max(labels) < cifar.num_classes:
            raise ValueError(
                f"its labels run from {min(labels)} to {max(labels)} instead of "
                f"from 0 to {cifar.num_classes - 1}"
            )
    except ValueError as error:
        raise _unusable(path, error) from error
    return pixels, np.array(labels, np.int64)


def _read_binary(cifar, content):
    record = cifar.label_bytes + PIXELS
    if not content or len(content) % record:
        raise ValueError(f"its {len(content):,} bytes are not whole records of {record:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    return records[:, cifar.label_bytes :], records[:, cifar.label_bytes - 1].tolist()


def _read_python(cifar, content):
    batch = unpickle(content)
    pixels, labels = batch.get(b"data"), batch.get(cifar.label_key)
    if not isinstance(pixels, PickledArray) or not isinstance(labels, list):
        raise ValueError(f"it lacks an array 'data' or a list '{cifar.label_key.decode()}'")
    pixels = pixels.as_bytes()
    if not len(pixels) or pixels.shape[1] != PIXELS:
        raise ValueError(f"its 'data' has the shape {pixels.shape}, not (N, {PIXELS})")
    if len(labels) != len(pixels) or not all(type(label) is int for label in labels):
        raise ValueError(f"its labels are not {len(pixels):,} whole numbers")
    return pixels, labels


def _class_names(cifar, layout, folder):
    path = folder / layout.names_file
    try:
        content = _content(cifar, path)
        names = content.split() if layout.binary else unpickle(content).get(cifar.names_key)
        if (
            not isinstance(names, list)
            or len(names) != cifar.num_classes
            or not all(type(name) is bytes for name in names)
        ):
            raise ValueError(f"it does not name {cifar.num_classes} classes")
        return tuple(name.decode() for name in names)
    except ValueError as error:
        raise _unusable(path, error) from error


def _content(cifar, path):
    """Return the file's bytes; raise ValueError if it is unreadable or exceeds official sizes."""
    most = cifar.most_images * BYTES_PER_IMAGE
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")  # reading a pipe would wait for ever
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ValueError(reason(error)) from error
    if len(content) > most:
        raise ValueError("it is larger than any official file")
    return content


def _unusable(path, problem):
    return DataError(
        f"{path} cannot be used ({problem}): delete {path.parent} and run again to download it"
    )
