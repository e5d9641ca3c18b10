"""Provide a run's batches, and keep the position of the next one."""

from typing import NamedTuple

import numpy as np

from wrn3d.data.batches import batch_at
from wrn3d.data.dataset import Dataset
from wrn3d.system.checks import check_count, require
from wrn3d.training.config import TrainingConfig


class Position(NamedTuple):
    """Epochs completed, and the next batch's first sample in the epoch's order."""

    epochs_completed: int = 0
    index_in_epoch: int = 0


class Feed:
    """Provides the batches of a data set.

    A batch is a pure function of (data, seed, position), so `position` is the only state.

    `loaded` is the data before the validation split, `whole` the data after it. The run uses
    `dataset`, which is `whole` or, after `use_only`, `whole` with some of its training rows.

    Raises UsageError if the training split is smaller than a batch, or if the validation split
    cannot be cut from it.
    """

    def __init__(self, loaded: Dataset, config: TrainingConfig) -> None:
        self.loaded = loaded
        self.whole = loaded.with_validation(config.validation)
        self.augmentation, self.batch_size = config.augmentation, config.batch_size
        self.position = Position()
        self.use_only(None)

    def use_only(self, rows: np.ndarray | None) -> None:
        """Use only these rows of the training split; None stands for all rows.

        Raises UsageError if they are fewer than a batch.
        """
        dataset = self.whole if rows is None else self.whole.with_training_rows(rows)
        check_batch_size(self.batch_size, dataset)
        self.dataset = dataset

    def next_rows(
        self, batch_size: int, rows: slice, seed: int, size: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return some rows of the next batch and move on by the whole batch.

        Returns (volumes (N, D, H, W, C) float32, labels (N,) int64), normalised, augmented, and
        resized to `size` times the data's size. An epoch's incomplete last batch is dropped.

        Raises UsageError for a batch larger than the training split.
        """
        batch_size = check_batch_size(batch_size, self.dataset)
        epoch, start = self.position
        if start + batch_size > self.num_examples:
            epoch, start = epoch + 1, 0
        self.position = Position(epoch, start + batch_size)
        first, count = start + rows.start, rows.stop - rows.start
        return batch_at(self.dataset, seed, epoch, first, count, self.augmentation, size)

    @property
    def num_examples(self) -> int:
        """The number of training images."""
        return len(self.dataset.train_labels)

    @property
    def epoch_ends(self) -> bool:
        """Whether the batch before the position is the last of its epoch."""
        return self.position.index_in_epoch + self.batch_size > self.num_examples


def check_batch_size(batch_size: int, dataset: Dataset) -> int:
    """Return the batch size; raise UsageError if the training split has fewer images."""
    count = len(dataset.train_labels)
    require(
        check_count("batch_size", batch_size) <= count,
        f"batch_size is {batch_size}, but {dataset.title} has only {count:,} training images",
    )
    return int(batch_size)
