"""A run's arrays: capture them from the model and the optimizer, and put them back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from wrn3d.data.dataset import Dataset
from wrn3d.network.variables import (
    assign,
    check_names_and_shapes,
    named_slots,
    named_variables,
    values,
)
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, quoted
from wrn3d.training.checkpoint import COUNTERS, Checkpoint
from wrn3d.training.config import CLASSES, DATA, RESIZING, TITLE, TrainingConfig

WEIGHTS, AVERAGE = "weights", "average"
Arrays = Mapping[str, Mapping[str, np.ndarray]]  # {kind: {canonical name: array}}


def state_variables(model: Any, optimizer: Any, average: Any) -> dict[str, dict[str, Any]]:
    """Return the variables of a run's state as {kind: {canonical name: variable}}.

    The kinds are "weights", the optimizer's slots, such as "momentum", and "average" if `average`,
    a WeightAverage, is given.
    """
    variables = {WEIGHTS: named_variables(model)} | named_slots(model, optimizer)
    return variables | ({AVERAGE: average.average} if average else {})


def capture(
    variables: Mapping[str, Mapping[str, Any]], average: Any
) -> dict[str, dict[str, np.ndarray]]:
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
    }
    return asdict(config) | name | data


def check_checkpoint(checkpoint: Checkpoint, optimizer: str) -> None:
    """Raise UsageError unless it is a Checkpoint, DataError if another optimizer trained it."""
    require(
        isinstance(checkpoint, Checkpoint),
        "restore takes a Checkpoint from snapshot(); set_weights takes arrays from get_weights()",
    )
    trained_with = checkpoint.config.get("optimizer", optimizer)
    if trained_with != optimizer:
        raise DataError(
            f"the checkpoint was trained with {quoted(trained_with)}, but this run uses "
            f"{optimizer}, which cannot continue its momentum: load the weights alone with "
            "set_weights(checkpoint.weights)"
        )


def restore(variables: Mapping[str, Mapping[str, Any]], arrays: Arrays, network: str) -> None:
    """Assign `arrays` to the variables of `state_variables`.

    A missing slot starts at zero, a missing average at the weights. Raises DataError for names or
    shapes of another network, before it changes anything.
    """
    complete: dict[str, Any] = {}
    for kind, named in variables.items():
        if kind in (WEIGHTS, AVERAGE):
            complete[kind] = arrays.get(kind) or arrays[WEIGHTS]
        else:
            complete[kind] = arrays.get(kind) or {
                name: np.zeros(variable.shape, np.float32) for name, variable in named.items()
            }
        check_names_and_shapes(named, complete[kind], f"{kind} for {network}")
    for kind, named in variables.items():
        assign(named, complete[kind], f"{kind} for {network}")


def broadcast(
    variables: Mapping[str, Mapping[str, Any]], numbers: Sequence[float], worker: Any
) -> tuple[Checkpoint, int]:
    """Broadcast the first worker's arrays to the variables of every worker.

    `numbers` are a checkpoint's NUMBERS and the seed. Returns those of the first worker as (a
    Checkpoint without arrays, the seed).
    """
    every = [variable for named in variables.values() for variable in named.values()]
    *arrays, sent = worker.broadcast([*(one.numpy() for one in every), np.array(numbers)])
    for variable, array in zip(every, arrays, strict=True):
        variable.assign(array)
    *counters, scale, seed = sent.tolist()
    position: dict[str, Any] = dict(zip(COUNTERS, map(int, counters), strict=True))
    return Checkpoint({}, **position, learning_rate_scale=scale), int(seed)
