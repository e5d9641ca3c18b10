"""Provide a run's batches, and keep the position of the next one."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data.batches import batch_at
from wrn3d.data.dataset import Dataset
from wrn3d.data.duplicates import warn_of_duplicates
from wrn3d.system.checks import check_count, require
from wrn3d.system.errors import DataError, UsageError, reason
from wrn3d.system.words import counted
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.config import IMAGES, TrainingConfig


class Position(NamedTuple):
    """Epochs completed, and the next batch's first sample in the epoch's order."""

    epochs_completed: int = 0
    index_in_epoch: int = 0


class Selection(NamedTuple):
    """Data with the training `rows` (N,) int64 in use; None stands for all rows."""

    dataset: Dataset
    rows: npt.NDArray[np.int64] | None


class Feed:
    """Provides the batches of a data set.

    A batch is a pure function of (data, seed, position), so `selection` and `position` are the only
    state. `loaded` is the data before the validation split, `whole` the data after it, and
    `selection` has all or some of its training rows.

    Warns of volumes that occur in two splits. Raises UsageError if the training split is smaller
    than a batch, or if the validation split cannot be cut from it.
    """

    def __init__(self, loaded: Dataset, config: TrainingConfig) -> None:
        self.loaded = loaded
        self.whole = loaded.with_validation(config.validation)
        warn_of_duplicates(self.whole, stacklevel=3)  # the line that makes the CNNEnv
        self.augmentation, self.batch_size = config.augmentation, config.batch_size
        self.position = Position()
        self.selection = self.select(None)

    def select(self, rows: npt.NDArray[Any] | None) -> Selection:
        """Return the selection of these rows of the training split; None stands for all rows.

        Raises UsageError if they are fewer than a batch, or no rows of the split.
        """
        dataset = self.whole
        if rows is not None:
            rows = dataset.training_rows(rows)
            if self.selection.rows is not None and np.array_equal(rows, self.selection.rows):
                return self.selection  # which has computed its mean already
            dataset = dataset.with_training_rows(rows)
        check_batch_size(self.batch_size, dataset)
        return Selection(dataset, rows)

    def selection_of(self, checkpoint: Checkpoint) -> Selection:
        """Return the selection that a checkpoint was trained on; the present one if it has none.

        Raises DataError if the data lack its rows.
        """
        if checkpoint.rows is None and IMAGES not in checkpoint.config:  # of an earlier version
            return self.selection
        try:
            return self.select(checkpoint.rows)
        except UsageError as error:
            raise DataError(
                f"the checkpoint was trained on rows that {self.whole.title} lacks "
                f"({reason(error)}): load its weights alone with set_weights(checkpoint.weights)"
            ) from error

    @property
    def dataset(self) -> Dataset:
        """The data that the run trains and measures on."""
        return self.selection.dataset

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
        first, count = start + rows.start, rows.stop - rows.start
        batch = batch_at(self.dataset, seed, epoch, first, count, self.augmentation, size)
        self.position = Position(epoch, start + batch_size)
        return batch

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
        f"batch_size is {batch_size}, but {dataset.title} has only "
        f"{counted(count, 'training image')}",
    )
    return int(batch_size)
