"""What a run is fed: its data and the position of the next batch."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from wrn3d.data.batches import batch_at
from wrn3d.data.dataset import Dataset
from wrn3d.data.load import load_dataset
from wrn3d.system.checks import check_count, require
from wrn3d.training.config import TrainingConfig


class Position(NamedTuple):
    """Epochs completed, and the next batch's first sample in the epoch's order."""

    epochs_completed: int = 0
    index_in_epoch: int = 0


class Feed:
    """Deals out batches of a data set.

    A batch is a pure function of (data, seed, position), so `position` is all the state there is.

    `loaded` is the data as it came, `whole` has the validation split set aside, and `dataset` is
    what the run trains and measures on: `whole`, or some of its training rows after `use_only`.

    Raises UsageError if the training split is smaller than a batch, or if the validation split
    cannot be cut from it.
    """

    def __init__(self, loaded: Dataset, config: TrainingConfig) -> None:
        self.loaded = loaded
        self.whole = loaded.with_validation(config.validation)
        self.augmentation = config.augmentation
        self.position = Position()
        self.use_only(None, config.batch_size)

    def use_only(self, rows: np.ndarray | None, batch_size: int) -> None:
        """Deal out these rows of the training split alone, or all of them again for None.

        Raises UsageError if they are fewer than `batch_size`.
        """
        dataset = self.whole if rows is None else self.whole.with_training_rows(rows)
        check_batch_size(batch_size, dataset)
        self.dataset = dataset

    def next_rows(
        self, batch_size: int, rows: slice, seed: int, size: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return some rows of the next batch and move on by the whole batch.

        Gives (volumes (N, D, H, W, C) float32, labels (N,) int64), normalised, augmented, and
        resized to the share `size` of the data's size. An epoch's incomplete last batch is dropped.

        Raises UsageError for a batch larger than the training split.
        """
        batch_size = check_batch_size(batch_size, self.dataset)
        epoch, start = self.position
        if start + batch_size > self.num_examples:
            epoch, start = epoch + 1, 0
        self.position = Position(epoch, start + batch_size)
        return batch_at(
            self.dataset,
            seed,
            epoch,
            start + rows.start,
            rows.stop - rows.start,
            self.augmentation,
            size,
        )

    @property
    def num_examples(self) -> int:
        """Training images."""
        return len(self.dataset.train_labels)

    def epoch_ends(self, batch_size: int) -> bool:
        """Return whether the batch dealt out last is the last one of its epoch."""
        return self.position.index_in_epoch + batch_size > self.num_examples


def open_dataset(
    data: Dataset | None, config: TrainingConfig, given: Collection[str] = ()
) -> Dataset:
    """Return the caller's data set, resized as the settings say, or load the one that they name.

    Raises UsageError for another kind of object, or if the caller has `given` both settings and
    data; and what `load_dataset` raises.
    """
    if data is None:
        return load_dataset(config.dataset, config.data_dir, config.volume_size)
    require(
        isinstance(data, Dataset),
        f"data is of type {type(data).__name__}, but must be a wrn3d.Dataset: make one with "
        "wrn3d.Dataset.from_arrays(train_images, train_labels)",
    )
    both = [name for name in ("dataset", "data_dir") if name in given]
    require(
        not both,
        f"data replaces the data set that the settings name: leave out {' and '.join(both)}",
    )
    return data.resized(config.volume_size) if config.volume_size else data


def check_batch_size(batch_size: int, dataset: Dataset) -> int:
    """Return the batch size; raise UsageError unless the training split has so many images."""
    count = len(dataset.train_labels)
    require(
        check_count("batch_size", batch_size) <= count,
        f"batch_size is {batch_size}, but {dataset.title} has only {count:,} training images",
    )
    return int(batch_size)
