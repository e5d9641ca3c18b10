"""What a data set is: volumes and labels as arrays, and how they are normalised."""

import hashlib
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import prod

import numpy as np

from wrn3d.data.resizing import resize_bytes, resized_shape
from wrn3d.system.checks import check_choice, require
from wrn3d.system.memory import check_room

SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}  # in files and folders


def _no_volumes():
    return np.zeros((0, 1, 1, 1, 1), np.uint8)


def _no_labels():
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Its splits; volumes are (N, D, H, W, C) uint8, labels (N,) int64.

    `title` is the name for people, `origin` where the arrays came from. The validation split may
    be empty.
    """

    title: str
    origin: str
    class_names: tuple[str, ...]
    train_volumes: np.ndarray
    train_labels: np.ndarray
    test_volumes: np.ndarray
    test_labels: np.ndarray
    validation_volumes: np.ndarray = field(default_factory=_no_volumes)
    validation_labels: np.ndarray = field(default_factory=_no_labels)

    def split(self, name):
        """(volumes, labels) of one of SPLITS; raises UsageError for another or an empty one."""
        check_choice("split", name, SPLITS)
        volumes, labels = getattr(self, f"{name}_volumes"), getattr(self, f"{name}_labels")
        require(
            len(labels),
            f"{self.title} has no {name} split here: set training images aside "
            "for it, such as validation=5000",
        )
        return volumes, labels

    def with_validation(self, count) -> "Dataset":
        """The same with its last `count` training samples as the validation split.

        Raises UsageError where there are not so many, or where it has that split already.
        """
        if not count:
            return self
        require(
            not len(self.validation_labels),
            f"{self.title} has a validation split, of "
            f"{len(self.validation_labels):,}: leave validation out",
        )
        require(
            count < len(self.train_labels),
            f"validation is {count}, but {self.title} has only "
            f"{len(self.train_labels):,} training images, of which some must be left",
        )
        return replace(
            self,
            train_volumes=self.train_volumes[:-count],
            train_labels=self.train_labels[:-count],
            validation_volumes=self.train_volumes[-count:],
            validation_labels=self.train_labels[-count:],
        )

    def with_training_rows(self, rows) -> "Dataset":
        """The same with these rows of its training split as the whole of it."""
        return replace(
            self, train_volumes=self.train_volumes[rows], train_labels=self.train_labels[rows]
        )

    def resized(self, longest) -> "Dataset":
        """The same with its volumes' longest side as `longest`; raises DataError where they would
        take more than half of the memory that is free."""
        shape = *resized_shape(self.volume_shape[:3], longest), self.volume_shape[3]
        count = sum(len(getattr(self, f"{name}_labels")) for name in SPLITS)
        check_room(f"the {count:,} volumes of {self.title}", count * prod(shape))
        return replace(
            self,
            **{
                f"{name}_volumes": resize_bytes(volumes, longest)
                for name in SPLITS
                if len(volumes := getattr(self, f"{name}_volumes"))
            },
        )

    @property
    def is_uneven(self) -> bool:
        """Whether a class has twice as many training samples as another."""
        return self._counts.max() >= 2 * self._counts.min()

    @property
    def class_weights(self) -> np.ndarray:
        """(classes,): in inverse proportion to their training samples, with a mean of 1 over
        those."""
        counts = self._counts
        return len(self.train_labels) / (len(counts) * np.maximum(counts, 1))

    @cached_property
    def _counts(self):
        """(classes,): their training samples."""
        return np.bincount(self.train_labels, minlength=len(self.class_names))

    @property
    def volume_shape(self) -> tuple[int, int, int, int]:
        """(D, H, W, C)."""
        return self.train_volumes.shape[1:]

    @property
    def nbytes(self) -> int:
        """Bytes that its arrays hold."""
        return sum(array.nbytes for array in self._arrays())

    @cached_property
    def fingerprint(self) -> str:
        """A checksum of its arrays, by which a run knows its data again."""
        digest = hashlib.sha256()
        for array in self._arrays():
            digest.update(f"{array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()[:16]

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean of each pixel over the training split, (1, D, H, W, C) float32."""
        total = self.train_volumes.sum(axis=0, dtype=np.int64, keepdims=True)
        return (total / len(self.train_volumes)).astype(np.float32)

    @cached_property
    def std(self) -> np.float32:
        """Standard deviation over all pixels of the training split, one number."""
        # From a histogram, in whole numbers: exact, and without a floating-point copy.
        counts = sum(np.bincount(volume.ravel(), minlength=256) for volume in self.train_volumes)
        values = np.arange(256)
        mean, mean_square = (float(counts @ values**n) / float(counts.sum()) for n in (1, 2))
        return np.float32(np.sqrt(mean_square - mean**2) or 1.0)

    def normalise(self, volumes: np.ndarray) -> np.ndarray:
        """As the module's `normalise` does, by the training split."""
        return normalise(volumes, self.mean, self.std)

    def _arrays(self):
        found = (getattr(self, field.name) for field in fields(self))
        return [value for value in found if isinstance(value, np.ndarray)]


def normalise(volumes, mean, std) -> np.ndarray:
    """(volumes - mean) / std in float32, as the original scripts do."""
    return (volumes.astype(np.float32) - mean) / std


def as_volumes(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) -> volumes of depth 1 (N, 1, H, W, C): the one place where it happens."""
    return np.ascontiguousarray(images).reshape(len(images), 1, *images.shape[1:])
