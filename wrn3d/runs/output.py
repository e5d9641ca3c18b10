"""Write logs, checkpoints, curves and events during a run. A full disk does not stop it."""

import time
import warnings
from collections.abc import Callable
from typing import Any

from wrn3d.runs.curves import draw, read_curves
from wrn3d.runs.events import Events, has_tensorboard
from wrn3d.runs.folder import RunFolder
from wrn3d.system.errors import DataError, MissingDataError, reason
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.evaluation import EvalResult
from wrn3d.training.step import StepResult

FIRST_DRAWING = 5.0  # seconds after the start
DRAWING_SHARE = 0.005  # of the run's time, at most
LOGGED = ("learning_rate", "loss", "accuracy")


class RunOutput:
    """Everything that a run writes into its `folder` while it trains.

    A failed write warns once, and later writes try again. With `must`, as at the end of the run, it
    raises DataError or MissingDataError instead; pictures and events only warn.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.picture = folder, folder.path / "curves.png"
        self.events: Events | None = None
        self.next_drawing = time.monotonic() + FIRST_DRAWING
        self.reported: set[str] = set()

    def start(self, iteration: int, validates: bool) -> None:
        """Start the logs and events, or continue them after `iteration`."""
        self.folder.start(iteration, validates)
        self.events = Events(self.folder.path, iteration) if has_tensorboard() else None

    def add(self, result: StepResult, epoch: int, ends: bool, size: float, must: bool) -> None:
        """Log an iteration; the arguments but `must` are `RunFolder.add`'s."""
        self._write("log.csv", result.iteration, must, self.folder.add, result, epoch, ends, size)
        if self.events:
            self.events.add(result.iteration, {name: getattr(result, name) for name in LOGGED})

    def add_validation(
        self, iteration: int, result: EvalResult, best: Checkpoint | None, must: bool
    ) -> None:
        """Log an evaluation of the validation split, and save `best` if it is given."""
        what = "validation.csv and the best checkpoint"
        self._write(what, iteration, must, self.folder.add_validation, iteration, result, best)
        if self.events:
            scores = result.by_name.items()
            self.events.add(iteration, {f"validation {name}": score for name, score in scores})
        self.draw_curves()

    def save(self, checkpoint: Checkpoint, must: bool) -> bool:
        """Save a checkpoint; return whether that succeeded."""
        iteration = checkpoint.iteration
        return self._write("checkpoints", iteration, must, self.folder.save, checkpoint)

    def draw_curves(self, force: bool = False) -> None:
        """Redraw curves.png if enough time has passed since the last drawing, or if `force`."""
        start = time.monotonic()
        if start < self.next_drawing and not force:
            return
        try:
            draw([read_curves(self.folder.path)], self.picture)
        except MissingDataError:  # no iteration is logged yet
            return
        except Exception as error:  # matplotlib may raise anything; the run must go on
            self._report(f"curves.png cannot be drawn, training continues: {reason(error)}")
        end = time.monotonic()
        self.next_drawing = end + (end - start) / DRAWING_SHARE

    def _write(
        self, what: str, iteration: int, must: bool, write: Callable[..., None], *arguments: Any
    ) -> bool:
        try:
            write(*arguments)
        except (DataError, MissingDataError) as error:
            if must:
                raise
            since = f"cannot be written since iteration {iteration}, training continues"
            self._report(f"{what} {since}: {error}", what)
            return False
        return True

    def _report(self, message: str, what: str = "curves.png") -> None:
        if what not in self.reported:
            warnings.warn(message, stacklevel=2)
        self.reported.add(what)
