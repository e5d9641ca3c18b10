"""The folder of one run: its checkpoints, its logs, and a lock against a second run.

checkpoint-00000200.safetensors    the last three checkpoints
best.safetensors                   the checkpoint with the best score on the validation split
log.csv                            learning rate, loss and accuracy of each iteration, exact
epochs.csv                         last learning rate, mean loss and mean accuracy of each epoch
validation.csv                     each evaluation of the validation split
times.csv                          size of the images and seconds of each iteration
curves.png                         these logs as a picture, redrawn during the run
run.json, test.json                settings, versions and machine; results on the test split
files.csv                          a table of the files in each split, if the data are files
confusion.png, mistakes.png        confusion matrix and most confident mistakes on the test split
events.out.tfevents.*              the logs for TensorBoard, if it is installed
"""

import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import isnan
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from wrn3d.runs.log import EpochMeans, Log, header
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, MissingDataError, UsageError, UserError, reason
from wrn3d.system.files import UNFINISHED, UNSUPPORTED, file_errors, flush
from wrn3d.system.words import counted
from wrn3d.training.checkpoint import BEST, CHECKPOINT_NAME, Checkpoint
from wrn3d.training.evaluation import LOGGED, EvalResult
from wrn3d.training.step import StepResult

KEPT = 3  # checkpoints
LOCK = ".lock"


def is_regular(iteration: int, save_every: int) -> bool:
    """Return whether a checkpoint is due after `iteration` even if the run goes on."""
    return iteration > 0 and iteration % save_every == 0


def ranked(score: float) -> float:
    """Return a score without the last digits, in which equal AUCs may differ."""
    return round(score, 12)


def best_iteration(scores: Mapping[int, float]) -> int | None:
    """Return the iteration with the best score, the first of several; NaN does not count."""
    known = [iteration for iteration, score in scores.items() if not isnan(score)]
    return max(known, key=lambda one: (ranked(scores[one]), -one), default=None)


class RunFolder:
    """A run's folder. As a context manager, it creates the folder if necessary and locks it.

    Entering raises UsageError if another run uses the folder, if it already holds a run and
    `resume` is False, or if it does not exist and `resume` is True. It raises UserError if the
    folder cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        resume: bool = False,
        save_every: int = 100,
        metrics: Iterable[str] | None = None,
    ) -> None:
        self.path, self.resume, self.save_every = Path(path), resume, save_every
        columns = ("epoch", *EpochMeans.COLUMNS)
        self.log = Log(self.path / "log.csv", columns)
        self.epochs = Log(self.path / "epochs.csv", columns)
        file = self.path / "validation.csv"
        own = header(file)[1 + len(LOGGED) :] if metrics is None else metrics
        self.validations = Log(file, (*LOGGED, *own))
        self.times = Log(self.path / "times.csv", ("size", "seconds"))
        self.epoch = EpochMeans()
        self.pending_best: Checkpoint | None = None  # not written yet
        self.lock = FileLock(self.path / LOCK, timeout=0)

    def __enter__(self) -> Self:
        require(
            not self.resume or os.path.isdir(self.path),
            f"{self.path} is not a folder, so it holds no run to resume: correct --output, or "
            "leave out --resume to start a run",
        )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # the parent folder may be unreadable
                flush(self.path.parent)
            self.lock.acquire()
        except Timeout:
            raise UsageError(
                f"{self.path} is in use by another run: name another folder with --output"
            ) from None
        except OSError as error:
            if error.errno not in UNSUPPORTED or not self.path.is_dir():
                raise UserError(
                    f"{self.path} cannot be written ({reason(error)}): name another folder with "
                    "--output"
                ) from error
            warnings.warn(
                f"{self.path} cannot be locked ({reason(error)}): start no second run in it",
                stacklevel=2,
            )
        try:
            self._check_content()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.lock.release()

    def start(self, iteration: int, validates: bool) -> None:
        """Start the logs, or continue them after `iteration`.

        Drops later lines, and removes old checkpoints that a killed run left. Raises DataError if
        a log cannot be read or written.
        """
        missing = iteration - self.log.start(iteration)
        if missing > 0:
            warnings.warn(
                f"{self.log.path} has no line for {missing} of the first "
                f"{counted(iteration, 'iteration')}",
                stacklevel=2,
            )
        self.epochs.start(iteration)
        self.times.start(iteration)
        self.epoch = EpochMeans()
        for row in self.log.rows():
            self.epoch.add(*row[1:])
        if validates:
            self.validations.start(iteration)
        if self.pending_best and self.pending_best.iteration > iteration:
            self.pending_best = None
        self._prune(iteration)

    def add(self, result: StepResult, epoch: int, ends: bool, size: float) -> None:
        """Log an iteration of `epoch`, and the epoch's means if it `ends` there.

        `size` is that of its images, as a share of the data's. Raises DataError if the logs cannot
        be written; the lines then stay pending.
        """
        numbers = result.learning_rate, result.loss, result.accuracy
        self.log.buffer(result.iteration, epoch, *numbers)
        self.epoch.add(epoch, *numbers)
        if ends:
            self.epochs.buffer(result.iteration, epoch, *self.epoch.means)
        self.times.buffer(result.iteration, size, result.seconds)
        self.log.write()
        self.epochs.write()
        self.times.write()

    def add_validation(
        self, iteration: int, result: EvalResult, best: Checkpoint | None = None
    ) -> None:
        """Save `best`, if given, and log an evaluation of the validation split.

        Raises what `save` raises; both then stay pending until the next save.
        """
        self.validations.buffer(iteration, *result.by_name.values())
        self.pending_best = best or self.pending_best
        self._flush()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and remove the old ones.

        The logs are synced to the disk first, so a run that resumes there repeats no evaluation.
        Raises DataError or MissingDataError if a file cannot be written.
        """
        self._flush()
        checkpoint.save(self.checkpoint_path(checkpoint.iteration))
        self._prune(checkpoint.iteration)

    def checkpoint_path(self, iteration: int) -> Path:
        """Return the path of the checkpoint after `iteration`, whether it exists or not."""
        return self.path / f"checkpoint-{iteration:08}.safetensors"

    def newest(self, regular: bool = False) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest readable checkpoint or None, and why each newer one was skipped.

        With `regular`, skip checkpoints that were saved only because a run stopped or ended.
        """
        skipped: list[str] = []
        for number, path in sorted(self._checkpoints().items(), reverse=True):
            if regular and not is_regular(number, self.save_every):
                continue
            try:
                return Checkpoint.load(path), skipped
            except (DataError, MissingDataError) as error:
                skipped.append(f"skipped: {error}")
        return None, skipped

    def discard_checkpoints(self, after: int, until: int) -> None:
        """Remove checkpoints with `after` < iteration <= `until`, and a best one after `after`."""
        paths = [path for number, path in self._checkpoints().items() if after < number <= until]
        best = self._best()
        if best and best.iteration > after:
            paths.append(self.path / BEST)
        for path in paths:
            with file_errors(path, "removed"):
                path.unlink(missing_ok=True)

    def best(self, score: str = "accuracy") -> tuple[Checkpoint | None, float]:
        """Return the best checkpoint so far and its score, or (None, -1.0).

        `score` names a score or an own metric, measured on the validation split.
        """
        best, scores = self._best(), self.validations.column(score)
        if best is None or best.iteration not in scores:  # it is later than the logs
            return None, -1.0
        score_now = scores[best.iteration]
        return best, -1.0 if isnan(score_now) else score_now  # NaN: before that metric was there

    def _check_content(self) -> None:
        for path in self.path.glob(f"{UNFINISHED}*"):  # a killed process left it
            shutil.rmtree(path, ignore_errors=True)
        if not self.resume and (self.log.path.exists() or self._checkpoints()):
            raise UsageError(
                f"{self.path} already holds a run: add --resume to continue it, or name another "
                "folder with --output"
            )

    def _best(self) -> Checkpoint | None:
        if self.pending_best:
            return self.pending_best
        try:
            return Checkpoint.load(self.path / BEST)
        except MissingDataError:
            return None
        except DataError as error:
            warnings.warn(f"{error}: the best checkpoint so far is lost", stacklevel=2)
            return None

    def _flush(self) -> None:
        """Sync everything to the disk, the validation log last.

        A run that is killed before that repeats the evaluation when it resumes.
        """
        self.log.flush()
        self.epochs.flush()
        self.times.flush()
        if self.pending_best:
            self.pending_best.save(self.path / BEST)
            self.pending_best = None
        if self.validations.pending or os.path.exists(self.validations.path):
            self.validations.flush()

    def _prune(self, iteration: int) -> None:
        """Remove checkpoints before `iteration`, except the newest regular ones.

        Later ones stay: they may come from another version of this package.
        """
        older = {number: path for number, path in self._checkpoints().items() if number < iteration}
        regular = sorted(number for number in older if is_regular(number, self.save_every))
        for number in older.keys() - regular[1 - KEPT :]:
            with suppress(OSError):  # the next save tries again
                older[number].unlink()

    def _checkpoints(self) -> dict[int, Path]:
        with file_errors(self.path, "read"):
            return {
                int(match[1]): path
                for path in self.path.iterdir()
                if (match := CHECKPOINT_NAME.fullmatch(path.name))
            }
