"""The folder of one run: its checkpoints, its logs, and the lock that keeps a second run out.

checkpoint-00000200.safetensors    the last KEPT of them
best.safetensors                   the one that was best on the validation split
log.csv                            a line for each iteration, its numbers to the last bit
epochs.csv                         a line for each epoch: the last learning rate, the mean loss
validation.csv                     a line for each measurement on the validation split
curves.png                         all that as a picture, renewed in the course of the run
run.json, test.json                what was run, when and where; what came of it
confusion.png, mistakes.png        what the network takes for what, and the worst of it
events.out.tfevents.*              the same for TensorBoard, where that is installed
"""

import os
import re
import shutil
import warnings
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from wrn3d.runs.log import EpochMeans, Log
from wrn3d.system.errors import DataError, MissingDataError, UsageError, UserError, reason
from wrn3d.system.files import UNFINISHED, file_errors, flush
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.evaluation import EvalResult

KEPT = 3
NAME = re.compile(r"checkpoint-([0-9]+)\.safetensors")
BEST, LOCK = "best.safetensors", ".lock"


def is_regular(iteration, save_every) -> bool:
    """Whether every run has a checkpoint there; others come from a stop or from a run's end."""
    return iteration > 0 and iteration % save_every == 0


class RunFolder:
    """A context in which the folder is this run's alone; made where it is not there.

    Entering raises UsageError where another run has the folder, or where one is there and `resume`
    is false, and UserError where nothing can be written to it.
    """

    def __init__(self, path, resume=False, save_every=100):
        self.path, self.resume, self.save_every = Path(path), resume, save_every
        self.log, self.epochs = (
            Log(self.path / name, ("epoch", *EpochMeans.COLUMNS))
            for name in ("log.csv", "epochs.csv")
        )
        self.epoch = EpochMeans()
        self.validations = Log(self.path / "validation.csv", EvalResult._fields)
        self.best_waiting = None  # a best checkpoint that could not be written yet
        self.lock = FileLock(self.path / LOCK, timeout=0)

    def __enter__(self):
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # where one may not look into what it lies in
                flush(self.path.parent)
            self.lock.acquire()
        except Timeout:
            raise UsageError(
                f"{self.path} is another run's, which is going on: name another "
                "folder with --output"
            ) from None
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({reason(error)}): name another "
                "folder with --output"
            ) from error
        try:
            for left in self.path.glob(f"{UNFINISHED}*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            if not self.resume and (self.log.path.exists() or self.checkpoints()):
                raise UsageError(
                    f"{self.path} holds a run: go on with it with --resume, or name "
                    "another folder with --output"
                )
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *exception):
        self.lock.release()

    def start(self, iteration, validates):
        """Begin the logs, or go on with them after `iteration`; what lies beyond it is taken back,
        and what a kill has left over is removed. Raises DataError."""
        if (missing := iteration - self.log.start(iteration)) > 0:
            warnings.warn(
                f"{self.log.path} lacks {missing} of the {iteration} iterations until here",
                stacklevel=2,
            )
        self.epochs.start(iteration)
        self.epoch = EpochMeans()
        for row in self.log.rows():
            self.epoch.add(*row[1:])
        if validates:
            self.validations.start(iteration)
        if self.best_waiting and self.best_waiting.iteration > iteration:
            self.best_waiting = None
        self._prune(iteration)

    def add(self, result, epoch, ends):
        """Add a StepResult to the logs, of `epoch`, which may end with it. Raises DataError where
        they can't be written, and then adds it with the next one."""
        numbers = result.learning_rate, result.loss, result.accuracy
        self.log.hold(result.iteration, epoch, *numbers)
        self.epoch.add(epoch, *numbers)
        if ends:
            self.epochs.hold(result.iteration, epoch, *self.epoch.means)
        self.log.write()
        self.epochs.write()

    def checkpoints(self) -> list[Path]:
        """The newest first; raises DataError."""
        found = self._numbered()
        return [found[number] for number in sorted(found, reverse=True)]

    def newest(self, regular=False):
        """(the newest checkpoint that is whole or None, sentences about those that are not)."""
        skipped = []
        for number, path in sorted(self._numbered().items(), reverse=True):
            if regular and not is_regular(number, self.save_every):
                continue
            try:
                return Checkpoint.load(path), skipped
            except (DataError, MissingDataError) as error:
                skipped.append(f"skipped: {error}")
        return None, skipped

    def save(self, checkpoint):
        """Write the checkpoint, and keep it and the newest regular ones. Before it, everything that
        was measured until then is on the disk: a run that goes on from it does not measure it
        again. Raises DataError or MissingDataError."""
        self._flush()
        checkpoint.save(self.checkpoint_path(checkpoint.iteration))
        self._prune(checkpoint.iteration)

    def add_validation(self, iteration, result, best=None):
        """Add a line to validation.csv, after `best`, a checkpoint, if one is given, is kept.
        Raises what `save` does, and then does it before the next."""
        self.validations.hold(iteration, *result)
        self.best_waiting = best or self.best_waiting
        self._flush()

    def checkpoint_path(self, iteration) -> Path:
        """Of the checkpoint after an iteration, whether it is there or not."""
        return self.path / f"checkpoint-{iteration:08}.safetensors"

    def discard_checkpoints(self, after, until):
        """Remove the checkpoints after one iteration until another, and a best one from there."""
        for number, path in self._numbered().items():
            if after < number <= until:
                with file_errors(path, "removed"):
                    path.unlink(missing_ok=True)
        best = self._best()
        if best and best.iteration > after:
            with file_errors(self.path / BEST, "removed"):
                (self.path / BEST).unlink(missing_ok=True)

    def best(self, score="accuracy"):
        """(the best checkpoint so far or None, its score on the validation split, one of the
        fields of EvalResult)."""
        best, scores = self._best(), self.validations.column(score)
        if best is None or best.iteration not in scores:  # of what is still to come
            return None, -1.0
        return best, scores[best.iteration]

    def _best(self):
        if self.best_waiting:
            return self.best_waiting
        try:
            return Checkpoint.load(self.path / BEST)
        except MissingDataError:
            return None
        except DataError as error:
            warnings.warn(f"{error}: the best so far is lost", stacklevel=2)
            return None

    def _flush(self):
        """The line of a validation comes last: where a kill leaves it out, all is done again."""
        self.log.flush()
        self.epochs.flush()
        if self.best_waiting:
            self.best_waiting.save(self.path / BEST)
            self.best_waiting = None
        if self.validations.waiting or os.path.exists(self.validations.path):
            self.validations.flush()

    def _prune(self, iteration):
        """What lies beyond it is left alone: it may be another version's."""
        older = {number: path for number, path in self._numbered().items() if number < iteration}
        regular = sorted(number for number in older if is_regular(number, self.save_every))
        for number in older.keys() - regular[1 - KEPT :]:
            with suppress(OSError):  # the next save tries again
                older[number].unlink()

    def _numbered(self):
        with file_errors(self.path, "read"):
            return {
                int(match[1]): path
                for path in self.path.iterdir()
                if (match := NAME.fullmatch(path.name))
            }
