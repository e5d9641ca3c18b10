"""The original scripts' attributes, under their names."""

from operator import attrgetter
from typing import Any


def alias(path: str) -> Any:
    """Return a read-only property with the value at `path`."""
    return property(attrgetter(path))


class OriginalAttributes:
    """Read-only attributes of an environment that programs for the original scripts may read."""

    x_train = property(lambda self: self.dataset.normalise(self.dataset.train_volumes))
    x_test = property(lambda self: self.dataset.normalise(self.dataset.test_volumes))
    y_train, y_test = alias("dataset.train_labels"), alias("dataset.test_labels")
    mean, std = alias("dataset.mean"), alias("dataset.std")
    epochs_completed = alias("feed.position.epochs_completed")
    index_in_epoch = alias("feed.position.index_in_epoch")
    blocks_per_group, widening_factor = alias("spec.blocks_per_group"), alias("spec.widen_factor")
    batch_num, nb_classes = alias("config.batch_size"), alias("spec.num_classes")
    img_row = property(lambda self: self.dataset.volume_shape[1])
    img_col = property(lambda self: self.dataset.volume_shape[2])
    img_channels = property(lambda self: self.dataset.volume_shape[3])
