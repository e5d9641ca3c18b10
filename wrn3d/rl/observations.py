"""What an agent sees of a run: numbers from -1 to 1."""

from math import isfinite, log, log10

import numpy as np
from gymnasium import spaces

from wrn3d.rl.actions import RANGES

HISTORY = 5  # iterations
DECADES = 6  # norms from 1e-6 to 1e6


class Observer:
    """Makes observations of a run of `classes` classes and of a network with `parts`.

    In order: the progress; the losses and accuracies of the last HISTORY iterations, the newest
    first, chance before there were any; loss and accuracy on the validation split when they were
    measured last; each part's norm of the weights, then of the gradients; the learning rate and
    the other settings that are adjusted. `names` says which is which.
    """

    def __init__(self, classes, parts, settings):
        self.chance = log(classes), 1 / classes
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

    def forget(self):
        """Begin another run."""
        loss, accuracy = self.chance
        self.history = ((loss, accuracy),) * HISTORY

    def note(self, result):
        """Take in an iteration's StepResult."""
        self.history = ((result.loss, result.accuracy), *self.history)[:HISTORY]

    def observe(self, progress, validation, norms, settings) -> np.ndarray:
        """float32, in `space`."""
        losses, accuracies = zip(*self.history, strict=True)
        found = [
            progress,
            *map(self._of_loss, losses),
            *accuracies,
            self._of_loss(validation.loss),
            validation.accuracy,
            *map(_of_norm, (*norms.weights.values(), *norms.gradients.values())),
            *(RANGES[name].position_of(value) for name, value in settings.items()),
        ]
        return np.nan_to_num(np.array(found, np.float32), nan=0.0).clip(-1, 1)

    def _of_loss(self, loss):
        """0 for none, 0.5 for chance, 1 for infinity or no number."""
        return loss / (loss + self.chance[0]) if isfinite(loss) else 1.0


def _of_norm(norm):
    if not norm > 0:  # none yet, or no number
        return -1.0 if norm == 0 else 0.0
    return min(1.0, max(-1.0, log10(norm) / DECADES)) if isfinite(norm) else 1.0
