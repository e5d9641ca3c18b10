"""The folder of one run: its checkpoints, its logs, and the lock that keeps a second run out.

    checkpoint-00000200.safetensors    the last KEPT of them
    best.safetensors                   the one that was best on the validation split
    log.csv                            a line for each iteration, its numbers to the last bit
    validation.csv                     a line for each measurement on the validation split
"""
import re
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from wrn3d.checkpoint import Checkpoint
from wrn3d.errors import DataError, UsageError, UserError, reason
from wrn3d.files import UNFINISHED, append_whole, write_whole

KEPT = 3
NAME = re.compile(r"checkpoint-(\d+)\.safetensors")
BEST, LOCK = "best.safetensors", ".lock"


class RunFolder:
    """A context in which the folder is this run's alone; made where it is not there.

    A checkpoint is regular at each multiple of `save_every` iterations; others come from a run's
    end. Entering raises UsageError where another run has the folder, or where one is there and
    `resume` is false, and UserError where nothing can be written to it.
    """

    def __init__(self, path, resume=False, save_every=100):
        self.path, self.resume, self.save_every = Path(path), resume, save_every
        self.log = Log(self.path / "log.csv", ("learning_rate", "loss", "accuracy"))
        self.validations = Log(self.path / "validation.csv", ("loss", "accuracy"))
        self.lock = FileLock(self.path / LOCK, timeout=0)

    def __enter__(self):
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
        except Timeout:
            raise UsageError(f"{self.path} is another run's, which is going on: name another "
                             "folder with --output") from None
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({reason(error)}): name another "
                            "folder with --output") from error
        try:
            for left in self.path.glob(f"{UNFINISHED}*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            if not self.resume and (self.log.path.exists() or self.checkpoints()):
                raise UsageError(f"{self.path} holds a run: go on with it with --resume, or name "
                                 "another folder with --output")
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *exception):
        self.lock.release()

    def checkpoints(self) -> list[Path]:
        """The newest first."""
        found = self._numbered()
        return [found[number] for number in sorted(found, reverse=True)]

    def newest(self, regular=False):
        """(the newest checkpoint that is whole or None, sentences about those that are not)."""
        skipped = []
        for number, path in sorted(self._numbered().items(), reverse=True):
            if regular and number % self.save_every:
                continue
            try:
                return Checkpoint.load(path), skipped
            except DataError as error:
                skipped.append(f"skipped: {error}")
        return None, skipped

    def save(self, checkpoint):
        """Write the checkpoint, and keep it and the newest regular ones; raises DataError."""
        checkpoint.save(self.path / f"checkpoint-{checkpoint.iteration:08}.safetensors")
        # What lies beyond it is left alone: it may be another version's.
        older = {number: path for number, path in self._numbered().items()
                 if number < checkpoint.iteration}
        regular = sorted(number for number in older if number % self.save_every == 0)
        for number in older.keys() - regular[1 - KEPT:]:
            older[number].unlink(missing_ok=True)

    def best(self):
        """(the best checkpoint so far or None, its accuracy on the validation split)."""
        try:
            best = Checkpoint.load(self.path / BEST)
        except (DataError, FileNotFoundError):
            return None, -1.0
        accuracies = self.validations.column("accuracy")
        if best.iteration not in accuracies:  # of a future that was given up
            return None, -1.0
        return best, accuracies[best.iteration]

    def save_best(self, checkpoint):
        """Write it in place of the one before; raises DataError."""
        checkpoint.save(self.path / BEST)

    def _numbered(self):
        return {int(match[1]): path for path in self.path.iterdir()
                if (match := NAME.fullmatch(path.name))}


class Log:
    """A CSV file with numbers about iterations, of whole lines alone."""

    def __init__(self, path, columns):
        self.path, self.columns = path, ("iteration", *columns)
        self.waiting = []  # lines that could not be written yet

    def start(self, iteration):
        """Begin it, or go on after `iteration`: what is beyond it is taken back. Raises what
        `write_whole` does."""
        kept = [line for line in self._lines() if line[0] <= iteration]
        text = "".join(map(_line, [self.columns, *kept]))
        self.waiting.clear()
        write_whole(self.path, text.encode())

    def add(self, iteration, *numbers):
        """Add a line, whole or not at all; raises DataError where it can't be, and then adds it
        with the next one."""
        self.waiting.append(_line((iteration, *map(repr, numbers))))
        try:
            append_whole(self.path, "".join(self.waiting).encode())
        except OSError as error:
            raise DataError(f"{self.path} cannot be written ({reason(error)})") from error
        self.waiting.clear()

    def column(self, name) -> dict[int, float]:
        """{iteration: number}."""
        return {line[0]: float(line[self.columns.index(name)]) for line in self._lines()}

    def _lines(self):
        """[(iteration, text, ...)]; what a killed process or a damaged disk left is no line."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8", errors="replace")
        whole = re.compile(r"(\d+)" + r",([-+.\w]+)" * (len(self.columns) - 1) + r"\n")
        found = filter(None, map(whole.fullmatch, text.splitlines(keepends=True)))
        return [(int(match[1]), *match.groups()[1:]) for match in found]


def _line(values):
    return ",".join(map(str, values)) + "\n"
