"""What a run is fed: its data, and the batch at its position."""

import numpy as np

from wrn3d.data.batches import batch_at, own_batch
from wrn3d.data.load import load_dataset
from wrn3d.data.resizing import longest, resized_shape
from wrn3d.distributed.workers import check_workers
from wrn3d.system.checks import check_count, require


class Feed:
    """The data of a training environment, which has `config`, `spec`, `worker` and a position:
    `iteration`, `epochs_completed`, `index_in_epoch`.

    After `open_data`, `dataset` is what it is trained and measured on.
    """

    def open_data(self):
        """Load the data and set the validation split aside; raises what `load_dataset` does."""
        self._loaded = self.load_data()
        self._whole = self._loaded.with_validation(self.config.validation)
        self.use_only(None)

    def use_only(self, rows):
        """Train on these rows of the training split alone, on all where it is None: what is drawn
        and normalised from the next batch on, and the length of an epoch. (Class weights stay the
        whole split's.) Raises UsageError for fewer rows than a batch."""
        dataset = self._whole if rows is None else self._whole.with_training_rows(rows)
        self._check_batch_size(self.config.batch_size, dataset)
        self.dataset = dataset
        self.num_examples = len(dataset.train_labels)
        self.total = self.config.total_iterations(self.num_examples)
        self.y_train, self.y_test = self.dataset.train_labels, self.dataset.test_labels
        self.mean, self.std = self.dataset.mean, self.dataset.std

    def load_data(self):
        """The run's Dataset; a subclass may have another than those with a name."""
        return load_dataset(self.config.dataset, self.config.data_dir, self.config.volume_size)

    def _batch(self, images, labels):
        """(volumes, labels, samples) of the next batch, as `next_batch` gives it, or of the
        caller's own, as arrays of its types: this worker's rows, and how many all have.

        Raises UsageError for one that does not fit the network, or has no row for each worker.
        """
        if images is None and labels is None:
            count = self.batch_num
            check_workers(count, self.worker.count)
            return *self._next_rows(count, self.worker.rows(count)), count
        images, labels = own_batch(
            images, labels, self._volume_shapes, len(self.dataset.class_names)
        )
        check_workers(len(labels), self.worker.count)
        rows = self.worker.rows(len(labels))
        return images[rows], labels[rows], len(labels)

    def next_batch(self, batch_size):
        """The next samples: (volumes (N, D, H, W, C) float32, labels (N,) int64), as `step` takes
        them. An epoch's incomplete last batch is dropped.

        Raises UsageError for a batch larger than the data set.
        """
        return self._next_rows(batch_size, slice(0, batch_size))

    def _next_rows(self, batch_size, rows):
        """Those rows of what `next_batch` gives."""
        batch_size = self._check_batch_size(batch_size, self.dataset)
        start = self.index_in_epoch
        if start + batch_size > self.num_examples:
            self.epochs_completed += 1
            start = 0
        self.index_in_epoch = start + batch_size
        return batch_at(
            self.dataset,
            self.config.seed,
            self.epochs_completed,
            start + rows.start,
            rows.stop - rows.start,
            self.config.augmentation,
            self.config.size_at(self.iteration, self.total),
        )

    @property
    def x_train(self) -> np.ndarray:
        """The training split as the network sees it, (N, D, H, W, C) float32; made at each call,
        since only the bytes are kept."""
        return self.dataset.normalise(self.dataset.train_volumes)

    @property
    def x_test(self) -> np.ndarray:
        """The test split as the network sees it, (N, D, H, W, C) float32; made at each call."""
        return self.dataset.normalise(self.dataset.test_volumes)

    @property
    def epoch(self) -> tuple[int, bool]:
        """(the last iteration's epoch, from 1 up; whether it was that epoch's last)."""
        ends = self.index_in_epoch + self.config.batch_size > self.num_examples
        return self.epochs_completed + 1, ends

    @property
    def _volume_shapes(self):
        """(D, H, W, C) of what the network may be trained on."""
        *sides, channels = self.spec.input_shape
        return [
            *dict.fromkeys(
                (*resized_shape(sides, longest(sides, size)), channels)
                for size in (1.0, *self.config.sizes)
            )
        ]

    @property
    def fingerprint(self) -> str:
        """The data's, whatever part of them is the validation split; computed when it is needed."""
        return self._loaded.fingerprint

    @staticmethod
    def _check_batch_size(batch_size, dataset):
        count = len(dataset.train_labels)
        require(
            check_count("batch_size", batch_size) <= count,
            f"batch_size is {batch_size}, but {dataset.title} has only {count:,} training images",
        )
        return int(batch_size)
