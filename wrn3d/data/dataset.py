"""A data set: volumes and labels as arrays, and how they are normalised."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn3d.data import arrays, normalisation
from wrn3d.data.arrays import Labels, Volumes
from wrn3d.data.fitting import Resizing
from wrn3d.data.listing import Listing, check_cut, check_listings
from wrn3d.data.resizing import resize_voxels, resized_shape
from wrn3d.data.voxels import TYPES
from wrn3d.data.windows import Window
from wrn3d.system.checks import check_choice, check_count, require
from wrn3d.system.errors import quoted
from wrn3d.system.memory import check_room
from wrn3d.system.words import counted

SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}  # in files and folders


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation and test split: volumes (N, D, H, W, C) and labels (N,) int64.

    Volumes are uint8, int16, uint16 or float32. A label is an index into `class_names`. `title` is
    the name to display, and `origin` says where the arrays come from. Splits may be empty, but only
    a data set with a training split can normalise volumes. `resizing` lists the steps that gave the
    volumes their size, `spacing` is the distance of voxels (D, H, W) in mm if the files tell it,
    and `window` gave the 256 levels of volumes that were not bytes. `listings` has the files of
    each split, if each volume has its own file. Do not change the arrays: their mean, standard
    deviation and fingerprint are computed once.

    Raises UsageError for other types and shapes, and for labels without a name.
    """

    title: str
    origin: str
    class_names: tuple[str, ...]
    train_volumes: Volumes
    train_labels: Labels
    test_volumes: Volumes = field(default_factory=lambda: np.zeros((0, 1, 1, 1, 1), np.uint8))
    test_labels: Labels = field(default_factory=lambda: np.zeros(0, np.int64))
    validation_volumes: Volumes = field(default_factory=lambda: np.zeros((0, 1, 1, 1, 1), np.uint8))
    validation_labels: Labels = field(default_factory=lambda: np.zeros(0, np.int64))
    resizing: tuple[Resizing, ...] = ()
    spacing: tuple[float, ...] | None = None
    window: Window | None = None
    listings: Mapping[str, Listing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in SPLITS:
            volumes, labels = self._split(name)
            require(
                _is_array(volumes, TYPES, 5)
                and _is_array(labels, [np.int64], 1)
                and len(labels) == len(volumes)
                and (not len(volumes) or volumes.dtype == self.train_volumes.dtype)
                and (labels >= 0).all(),
                f"{name}_volumes must be (N, D, H, W, C) of one type in all splits, uint8, int16, "
                f"uint16 or float32, and {name}_labels int64 (N,), 0 or greater: make a data set "
                "from other arrays with Dataset.from_arrays",
            )
        labels = {name: self._split(name)[1] for name in SPLITS}
        counts = {name: len(one) for name, one in labels.items()}
        require(any(counts.values()), "a data set needs a split with at least one volume")
        check_listings(self.listings, counts)
        arrays.named_classes(self.class_names, *labels.values())

    @classmethod
    def from_arrays(
        cls,
        train_images: npt.ArrayLike,
        train_labels: npt.ArrayLike,
        test_images: npt.ArrayLike | None = None,
        test_labels: npt.ArrayLike | None = None,
        *,
        validation_images: npt.ArrayLike | None = None,
        validation_labels: npt.ArrayLike | None = None,
        class_names: Iterable[str] | None = None,
        title: str = "arrays",
    ) -> "Dataset":
        """Make a data set from NumPy arrays, or from anything that `np.asarray` takes.

            dataset = wrn3d.Dataset.from_arrays(x_train, y_train, x_test, y_test)
            env = CNNEnv(data=dataset)

        Images are (N, H, W), (N, H, W, C) or (N, D, H, W, C), with one size in all splits. Four
        axes are always (N, H, W, C), with at most 4 channels. Five axes may have any number of
        channels, though `python -m wrn3d.predict` takes 1 or 3. Numbers keep their values: uint8,
        int16, uint16 and float32 stay unchanged, other types become one of them (`as_voxels`). The
        arrays are copied, so changing them later has no effect.

        Labels are (N,) or (N, 1) integers. Without `class_names`, the classes are 0 to the
        largest label, and each needs a training sample. With `class_names`, a label is an index
        into them, and a class may have no sample.

        Without test images, `env.evaluate()` raises UsageError. The setting `validation` takes the
        last training images, so shuffle images that are sorted by class. Checkpoints and logs
        mention `title`. Raises UsageError (a ValueError) for invalid arguments.
        """
        given = {
            "train": (train_images, train_labels),
            "test": (test_images, test_labels),
            "validation": (validation_images, validation_labels),
        }
        splits = {
            name: arrays.to_split(name, images, labels)
            for name, (images, labels) in given.items()
            if name == "train" or images is not None or labels is not None
        }
        splits = arrays.alike(splits)
        labels = [split_labels for _, split_labels in splits.values()]
        names = (
            arrays.numbered_classes(*labels)
            if class_names is None
            else arrays.named_classes(class_names, *labels)
        )
        require(isinstance(title, str), f"title is {quoted(title)}, but must be a text")
        return cls(title, "memory", names, **arrays.columns(splits))

    def split(self, name: str) -> tuple[Volumes, Labels]:
        """Return the volumes and labels of one of SPLITS.

        Raises UsageError for another name, or if the split is empty.
        """
        check_choice("split", name, SPLITS)
        volumes, labels = self._split(name)
        advice = (
            "set training images aside with a setting such as validation=5000"
            if name == "validation"
            else f"give Dataset.from_arrays {name}_images and {name}_labels"
        )
        require(len(labels) > 0, f"{self.title} has no {name} split: {advice}")
        return volumes, labels

    def with_validation(self, count: int) -> "Dataset":
        """Return the data set with its last `count` training samples as the validation split.

        Raises UsageError if there are too few, if there is a validation split already, or if a
        group of files would be cut.
        """
        if not check_count("validation", count, least=0):
            return self
        require(
            not len(self.validation_labels),
            f"{self.title} already has a validation split of "
            f"{counted(len(self.validation_labels), 'image')}: leave validation out",
        )
        require(
            count < len(self.train_labels),
            f"validation is {count}, but {self.title} has only "
            f"{counted(len(self.train_labels), 'training image')}, and some must remain to train "
            "on",
        )
        check_cut(self.listings.get("train"), count)
        return self.divided({"train": slice(-count), "validation": slice(-count, None)})

    def training_rows(self, rows: npt.ArrayLike) -> Labels:
        """Return rows of the training split, given as indices or as a mask, as indices from 0 up.

        The result is a copy. Raises UsageError for rows that the split does not have.
        """
        array, count = arrays.as_array("rows", rows), len(self.train_labels)
        is_mask = array.dtype == bool and array.shape == (count,)
        are_indices = array.dtype.kind in "iu" and array.ndim == 1
        require(
            is_mask or (are_indices and ((array >= -count) & (array < count)).all()),
            f"rows is {quoted(rows)}, but must be a list of whole numbers from 0 to {count - 1:,}, "
            f"or {count:,} times True or False",
        )
        indices: Labels = np.arange(count, dtype=np.int64)[array]
        return indices

    def with_training_rows(self, rows: npt.ArrayLike) -> "Dataset":
        """Return the data set with only these `training_rows`."""
        return self.divided({"train": self.training_rows(rows)})

    def divided(self, rows: Mapping[str, Any]) -> "Dataset":
        """Return the data set in which some splits have these rows of the training split."""
        volumes, labels, listing = *self._split("train"), self.listings.get("train")
        listings = (
            {split: listing.only(chosen) for split, chosen in rows.items()} if listing else {}
        )
        splits = {split: (volumes[chosen], labels[chosen]) for split, chosen in rows.items()}
        return replace(self, **arrays.columns(splits), listings={**self.listings, **listings})

    def resized(self, longest: int) -> "Dataset":
        """Return the data set with volumes whose longest side is `longest`.

        Raises UsageError unless `longest` is a whole number from 1 up, and DataError if the volumes
        would take more than half of the free memory.
        """
        check_count("volume_size", longest)
        shape = *resized_shape(self.volume_shape[:3], longest), self.volume_shape[3]
        if shape == self.volume_shape:
            return self
        count = sum(len(getattr(self, f"{name}_labels")) for name in SPLITS)
        nbytes = count * prod(shape) * self.train_volumes.itemsize
        check_room(f"the {counted(count, 'volume')} of {self.title}", nbytes)
        resized = self._each_split(lambda volumes, _: resize_voxels(volumes, longest))
        spacing = self.spacing and tuple(
            mm * old / new
            for mm, old, new in zip(self.spacing, self.volume_shape, shape, strict=False)
        )
        steps = (*self.resizing, Resizing("linear", shape[:3]))
        return replace(resized, resizing=steps, spacing=spacing)

    def windowed(self, window: Window) -> "Dataset":
        """Return the data set with intensities mapped to 256 levels, uint8.

        Raises DataError if the window leaves nothing of a volume.
        """

        def levels(volumes: Volumes, name: str) -> Volumes:
            return np.stack(
                [
                    window(volume, f"{name} volume {row} of {self.title}")
                    for row, volume in enumerate(volumes)
                ]
            )

        return replace(self._each_split(levels), window=window)

    def _each_split(self, change: Callable[[Volumes, str], Volumes]) -> "Dataset":
        """Return the data set with the volumes that `change` makes of those of each split."""
        changed: dict[str, Any] = {
            f"{name}_volumes": change(volumes, name)
            for name in SPLITS
            if len(volumes := getattr(self, f"{name}_volumes"))
        }
        return replace(self, **{"train_volumes": next(iter(changed.values()))[:0], **changed})

    @property
    def class_weights(self) -> npt.NDArray[np.float64]:
        """Weight of each class, (classes,): inversely proportional to its training samples.

        Their mean over the training samples is 1.
        """
        counts = self.class_counts
        return len(self.train_labels) / (len(counts) * np.maximum(counts, 1))

    @cached_property
    def class_counts(self) -> npt.NDArray[np.int64]:
        """Training samples of each class, (classes,)."""
        return np.bincount(self.train_labels, minlength=len(self.class_names))

    @property
    def volume_shape(self) -> tuple[int, int, int, int]:
        """Shape of a volume, (D, H, W, C)."""
        return self.train_volumes.shape[1:]

    @property
    def nbytes(self) -> int:
        """Memory of all arrays, in bytes."""
        return sum(array.nbytes for array in self._arrays())

    @cached_property
    def fingerprint(self) -> str:
        """Checksum of all arrays, 16 hexadecimal digits: a resumed run compares it."""
        digest = hashlib.sha256()
        for array in self._arrays():
            digest.update(f"{array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    @cached_property
    def mean(self) -> npt.NDArray[np.float32]:
        """Mean of each pixel over the training split, (1, D, H, W, C) float32."""
        return normalisation.mean(self.split("train")[0])

    @cached_property
    def std(self) -> np.float32:
        """Standard deviation over all pixels of the training split; 1 where it would be 0."""
        return normalisation.standard_deviation(self.split("train")[0])

    def normalise(self, volumes: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Normalise volumes to (N, D, H, W, C) float32 with the training split's mean and std.

        Takes what `from_arrays` takes, in this data set's size, and raises the same errors.
        """
        return normalisation.normalise(volumes, self.mean, self.std, self.train_volumes.dtype)

    def _split(self, name: str) -> tuple[Any, Any]:
        return getattr(self, f"{name}_volumes"), getattr(self, f"{name}_labels")

    def _arrays(self) -> list[npt.NDArray[Any]]:
        values = (getattr(self, field.name) for field in fields(self))
        return [value for value in values if isinstance(value, np.ndarray)]


def _is_array(value: Any, types: Sequence[type], axes: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype in types and value.ndim == axes
