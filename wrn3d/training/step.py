"""One iteration: its own settings, its result, and the sums over several workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wrn3d.distributed.workers import Worker
from wrn3d.system.checks import check_number, check_share, require
from wrn3d.system.errors import UserError
from wrn3d.training.config import TrainingConfig

# The settings, besides the learning rate, that one iteration can change, and their checks.
ADJUSTABLE = {"momentum": check_share, "weight_decay": check_number, "dropout": check_share}


@dataclass(frozen=True)
class StepResult:
    """The result of one iteration.

    `iteration` counts from 1. `loss` and `accuracy` are the batch's own, before the update.
    `batch_size` is the global batch size, `seconds` the time that the iteration took.
    """

    iteration: int
    loss: float
    accuracy: float
    learning_rate: float
    batch_size: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        return self.batch_size / self.seconds


def adjusted_settings(config: TrainingConfig, chosen: Mapping[str, Any]) -> dict[str, float]:
    """Return the ADJUSTABLE settings of an iteration: those in `chosen`, else the run's.

    Raises UsageError for an invalid value, or for a setting that is 0 in the run.
    """
    settings = {name: getattr(config, name) for name in ADJUSTABLE}
    for name, value in chosen.items():
        require(
            settings[name],
            f"{name} is 0 in this run, so an iteration cannot change it: start the run with a "
            f"{name} above 0",
        )
        settings[name] = ADJUSTABLE[name](name, value)
    return settings


def has_failed(error: BaseException) -> bool:
    """Return whether an iteration itself raised the error, so that it was not trained."""
    import tensorflow as tf

    return isinstance(error, (UserError, MemoryError, tf.errors.OpError))


def reduce_scores(
    worker: Worker, loss: Any, accuracy: Any, own: int, count: int
) -> tuple[float, float]:
    """Return the whole batch's (loss, accuracy) of `count` samples.

    `loss` is this worker's part of the loss, `accuracy` the accuracy on its `own` rows.
    """
    if worker.count > 1:
        right = np.rint(np.float32(accuracy) * own)  # a whole number: its sum is exact
        loss, right = worker.sum([np.array([loss, right], np.float32)])[0]
        accuracy = right / np.float32(count)
    return float(loss), float(accuracy)


def sum_over_workers(worker: Worker, gradients: Sequence[Any], order: Sequence[int]) -> list[Any]:
    """Return each gradient's sum over the workers, which send them in `order`."""
    summed = worker.sum([gradients[place] for place in order])
    by_place = dict(zip(order, summed, strict=True))
    return [by_place[place] for place in range(len(order))]
