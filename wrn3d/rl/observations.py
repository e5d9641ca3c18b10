"""Describe a run to an agent by numbers from -1 to 1."""

from collections.abc import Collection, Mapping
from math import isfinite, log, log10

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from wrn3d.rl.actions import RANGES
from wrn3d.training.evaluation import EvalResult
from wrn3d.training.norms import Norms
from wrn3d.training.step import StepResult

HISTORY = 5  # iterations
DECADES = 6  # norms from 1e-6 to 1e6


class Observer:
    """Makes the observations of a run.

    Args:
        classes: number of classes.
        parts: parts of the network, such as "conv0" and "group0".
        settings: names of the settings to observe: the learning rate and the adjusted ones.

    An observation has these numbers, in this order. `names` has a name for each.

    * the progress, from 0 to 1
    * the losses, then the accuracies of the last HISTORY iterations, the newest first; those
      before the first iteration count as random guesses
    * the loss and accuracy that were last measured on the validation split
    * the norms of the parts' weights, then the norms of the parts' gradients
    * the settings
    """

    def __init__(self, classes: int, parts: Collection[str], settings: Collection[str]) -> None:
        self.chance = log(classes), 1 / classes  # loss and accuracy of a random guess
        self.names = [
            "progress",
            *(f"{score} {back} back" for score in ("loss", "accuracy") for back in range(HISTORY)),
            "validation loss",
            "validation accuracy",
            *(f"{kind} norm {part}" for kind in ("weight", "gradient") for part in parts),
            *settings,
        ]
        self.space = spaces.Box(-1.0, 1.0, (len(self.names),), np.float32)
        self.forget()

    def forget(self) -> None:
        """Start another run: forget the scores of the last iterations."""
        self.history: tuple[tuple[float, float], ...] = (self.chance,) * HISTORY

    def note(self, result: StepResult) -> None:
        """Remember the scores of an iteration."""
        self.history = ((result.loss, result.accuracy), *self.history)[:HISTORY]

    def observe(
        self, progress: float, validation: EvalResult, norms: Norms, settings: Mapping[str, float]
    ) -> npt.NDArray[np.float32]:
        """Return the observation, float32 in `space`."""
        losses, accuracies = zip(*self.history, strict=True)
        numbers = [
            progress,
            *map(self._squeezed_loss, losses),
            *accuracies,
            self._squeezed_loss(validation.loss),
            validation.accuracy,
            *map(_squeezed_norm, (*norms.weights.values(), *norms.gradients.values())),
            *(RANGES[name].position_of(value) for name, value in settings.items()),
        ]
        return np.nan_to_num(np.array(numbers, np.float32), nan=0.0).clip(-1, 1)

    def _squeezed_loss(self, loss: float) -> float:
        """Map a loss to [0, 1]: 0 stays 0, a random guess gives 0.5, NaN and infinity 1."""
        return loss / (loss + self.chance[0]) if isfinite(loss) else 1.0


def _squeezed_norm(norm: float) -> float:
    if not norm > 0:  # zero, or NaN before the first iteration
        return -1.0 if norm == 0 else 0.0
    return min(1.0, max(-1.0, log10(norm) / DECADES)) if isfinite(norm) else 1.0
