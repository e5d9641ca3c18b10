"""Detect NaN and infinity, and go back to a checkpoint with half the learning rate."""

from collections.abc import Mapping

import numpy as np

from wrn3d.runs.config import RunConfig
from wrn3d.runs.folder import RunFolder
from wrn3d.system.errors import DivergedError
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.step import StepResult

SMALLEST_SCALE = 2.0**-10  # of the learning rate: a run that diverges even there ends


class FiniteCheck:
    """Raise DivergedError when a loss or a weight is NaN or infinite."""

    def __init__(self) -> None:
        self.last_loss: float | None = None

    def check_loss(self, result: StepResult) -> None:
        """Check the loss of an iteration."""
        if not np.isfinite(result.loss):
            raise self._error(f"the loss is {result.loss}", result.iteration)
        self.last_loss = result.loss

    def check_weights(self, weights: Mapping[str, np.ndarray], iteration: int) -> None:
        """Check the weights after an iteration."""
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise self._error("weights are no longer finite", iteration)

    def _error(self, what: str, iteration: int) -> DivergedError:
        last = (
            "no loss was finite"
            if self.last_loss is None
            else f"the last finite loss was {self.last_loss:g}"
        )
        return DivergedError(f"{what} at iteration {iteration}, {last}")


def final_error(
    error: DivergedError, environment: TrainingEnvironment, folder: RunFolder | None
) -> DivergedError:
    """Return the error that ends a run, with advice."""
    message = f"{error}: try a learning rate below {environment.learning_rate:g}"
    if folder and (kept := folder.newest()[0]):
        message += f" (last good checkpoint: {folder.checkpoint_path(kept.iteration)})"
    return DivergedError(message)


def go_back(
    environment: TrainingEnvironment, config: RunConfig, folder: RunFolder | None
) -> tuple[Checkpoint | None, list[str]]:
    """Restore the last regular checkpoint, or reset if there is none; halve the learning rate.

    A checkpoint saved by a stop is skipped: the result would depend on where the run stopped.
    Returns the checkpoint or None, and a sentence for each unreadable checkpoint. Only the first of
    several workers has a `folder`; the others adopt the first one's state.
    """
    scale, reached = environment.learning_rate_scale / 2, environment.iteration
    checkpoint, skipped = folder.newest(regular=True) if folder else (None, [])
    if checkpoint is None:
        environment.reset()
    else:
        environment.restore(checkpoint, config.seed)
    environment.learning_rate_scale = scale
    environment.adopt_state_of_first()
    if folder:
        folder.discard_checkpoints(environment.iteration, reached)
    return checkpoint, skipped
