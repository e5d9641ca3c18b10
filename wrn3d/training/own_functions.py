"""A caller's own loss and metrics."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from wrn3d.system.checks import require
from wrn3d.system.errors import quoted
from wrn3d.training.config import SCORES, TrainingConfig
from wrn3d.training.evaluation import EvalResult

Loss = Callable[[Any, Any], Any]  # TensorFlow's (labels (N,), logits (N, classes)) -> (N,)
Metric = Callable[[np.ndarray, np.ndarray], float]  # (labels (N,), probabilities (N, classes))


class OwnFunctions(NamedTuple):
    """The functions that a run uses beside its settings; `loss` None is the cross-entropy."""

    loss: Loss | None
    metrics: dict[str, Metric]

    @classmethod
    def checked(cls, loss: Any, metrics: Any, config: TrainingConfig) -> "OwnFunctions":
        """Return the functions of a run with these settings.

        Raises UsageError for anything but functions, for names of metrics that are other scores or
        no Python names, for label smoothing with an own loss, and for an unknown `best_by`.
        """
        require(
            loss is None or callable(loss),
            f"loss is {quoted(loss)}, but must be a function of labels (N,) and logits (N, "
            "classes) that returns the losses (N,) in TensorFlow ops",
        )
        require(
            loss is None or not config.label_smoothing,
            "label_smoothing belongs to the cross-entropy, which the own loss replaces: leave it "
            "out",
        )
        require(
            isinstance(metrics, Mapping) and all(map(callable, metrics.values())),
            f"metrics is {quoted(metrics)}, but must be a dictionary of functions of labels (N,) "
            "and probabilities (N, classes), by name",
        )
        for name in metrics:
            require(
                isinstance(name, str) and name.isidentifier() and name not in EvalResult._fields,
                f"metrics has the name {quoted(name)}, but must have Python names other than "
                f"{', '.join(EvalResult._fields)}",
            )
        known = (*SCORES, *metrics)
        require(
            config.best_by in known,
            f"best_by is {quoted(config.best_by)}, but must be {' or '.join(known)}",
        )
        return cls(loss, dict(metrics))

    @property
    def names(self) -> dict[str, Any]:
        """The functions' names, as a checkpoint records them."""
        metrics = {name: _name(metric) for name, metric in self.metrics.items()}
        return {"loss": self.loss and _name(self.loss), "metrics": metrics}


def _name(function: Callable[..., Any]) -> str:
    """Return a function's module and name, or those of its type."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    """Yield which of "loss" and "metrics" two records of functions differ in.

    An older checkpoint has no record: its loss was the cross-entropy, and it had no metrics.
    """
    for kind, none in (("loss", None), ("metrics", {})):
        if before.get(kind, none) != now[kind]:
            yield kind
