"""A run's arrays: capture them from the model and the optimizer, and put them back."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from wrn3d.data.dataset import Dataset
from wrn3d.data.windows import texts
from wrn3d.distributed.workers import Worker
from wrn3d.network.variables import (
    assign,
    fitting_arrays,
    named_slots,
    named_variables,
    values,
)
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, UsageError, quoted
from wrn3d.training.checkpoint import COUNTERS, NUMBERS, Checkpoint
from wrn3d.training.config import (
    CLASSES,
    DATA,
    IMAGES,
    RESIZING,
    SPACING,
    TITLE,
    VOXELS,
    WINDOW,
    TrainingConfig,
)

WEIGHTS, AVERAGE = EVALUATED = "weights", "average"
Variables = Mapping[str, Mapping[str, Any]]  # {kind: {canonical name: variable}}
Arrays = Mapping[str, Mapping[str, np.ndarray]]  # {kind: {canonical name: array}}


class NotCopyable:
    """Refuse copy.copy, copy.deepcopy and pickle with UsageError: they cannot copy graphs."""

    def __reduce_ex__(self, protocol: object) -> Any:
        raise UsageError(
            f"a {type(self).__name__} cannot be copied or pickled: keep its state with snapshot() "
            "and go back to it with restore()"
        )


def state_variables(model: Any, optimizer: Any, average: Any) -> dict[str, dict[str, Any]]:
    """Return the variables of a run's state as {kind: {canonical name: variable}}.

    The kinds are "weights", the optimizer's slots, such as "momentum", and "average" if `average`,
    a WeightAverage, is given.
    """
    variables = {WEIGHTS: named_variables(model)} | named_slots(model, optimizer)
    return variables | ({AVERAGE: average.average} if average else {})


def capture(variables: Variables, average: Any) -> dict[str, dict[str, np.ndarray]]:
    """Return copies {kind: {canonical name: array}} of the variables of `state_variables`."""
    arrays = {kind: values(named) for kind, named in variables.items()}
    if average and average.last:  # the model temporarily holds the average
        arrays[WEIGHTS] = average.last
    return arrays


def description(
    config: TrainingConfig, dataset: Dataset, fingerprint: str, own_data: bool
) -> dict[str, Any]:
    """Return a checkpoint's `config`: the settings and the DESCRIPTION of the data."""
    name = {"dataset": dataset.title} if own_data else {}
    data = {
        DATA: fingerprint,
        TITLE: dataset.title,
        CLASSES: list(dataset.class_names),
        RESIZING: list(dataset.resizing),
        VOXELS: str(dataset.train_volumes.dtype),
        SPACING: dataset.spacing,
        WINDOW: dataset.window and texts(dataset.window),
        IMAGES: len(dataset.train_labels),
    }
    return asdict(config) | name | data


def check_checkpoint(checkpoint: Checkpoint, optimizer: str, freeze: Collection[str]) -> None:
    """Raise UsageError unless it is a Checkpoint.

    Raises DataError if another optimizer trained it, or if other parts were frozen.
    """
    require(
        isinstance(checkpoint, Checkpoint),
        "restore takes a Checkpoint from snapshot(); set_weights takes arrays from get_weights()",
    )
    checkpoint.check()
    trained_with = checkpoint.config.get("optimizer", optimizer)
    if trained_with != optimizer:
        raise DataError(
            f"the checkpoint was trained with {quoted(trained_with)}, but this run uses "
            f"{optimizer}, which cannot continue its momentum: load the weights alone with "
            "set_weights(checkpoint.weights)"
        )
    frozen = checkpoint.config.get("freeze", ())
    if checkpoint.momentum and set(frozen) != set(freeze):
        raise DataError(
            f"the checkpoint was trained with frozen parts {', '.join(frozen) or 'none'}, but this "
            f"run freezes {', '.join(freeze) or 'none'}: load the weights alone with "
            "set_weights(checkpoint.weights), or start from them with init"
        )


def fitting(variables: Variables, arrays: Arrays, network: str) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays, {kind: {canonical name: array}}, for the variables of `state_variables`.

    A missing slot starts at zero, a missing average at the weights. Raises DataError for names or
    shapes of another network, or for anything but numbers.
    """
    fitted: dict[str, Any] = {}
    for kind, named in variables.items():
        zeros = {name: np.zeros(variable.shape, np.float32) for name, variable in named.items()}
        default = arrays[WEIGHTS] if kind in EVALUATED else zeros
        fitted[kind] = fitting_arrays(named, arrays.get(kind) or default, f"{kind} for {network}")
    return fitted


def restore(variables: Variables, arrays: Arrays) -> None:
    """Assign {kind: arrays that fit}, as `fitting` returns them."""
    for kind in variables.keys() & arrays.keys():
        assign(variables[kind], arrays[kind])


def running_averages(model: Any) -> dict[str, Any]:
    """Return batch norm's running averages, {canonical name: variable}: training changes them."""
    named = named_variables(model)
    return {name: named[name] for name in named if ".running_" in name}


def broadcast(
    variables: Variables, checkpoint: Checkpoint, seed: int, worker: Worker
) -> Checkpoint:
    """Broadcast the first worker's arrays to the variables of every worker.

    Returns the first worker's `checkpoint` with its `seed`, but without arrays except for `rows`.
    """
    every = [variable for named in variables.values() for variable in named.values()]
    rows = checkpoint.rows
    numbers = [getattr(checkpoint, name) for name in NUMBERS]
    numbers += [seed, -1 if rows is None else len(rows)]
    *arrays, sent = worker.broadcast([*(one.numpy() for one in every), np.array(numbers)])
    for variable, array in zip(every, arrays, strict=True):
        variable.assign(array)
    *counters, scale, seed, count = sent.tolist()
    if count >= 0:
        own = np.zeros(int(count), np.int64) if rows is None or worker.index else rows
        (rows,) = worker.broadcast([own])
    position: dict[str, Any] = dict(zip(COUNTERS, map(int, counters), strict=True))
    return Checkpoint(
        {},
        **position,
        learning_rate_scale=scale,
        rows=rows if count >= 0 else None,
        config={"seed": int(seed), IMAGES: None},
    )
