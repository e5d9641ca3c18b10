"""The folder of one run: its checkpoints, its log, and the lock that keeps a second run out.

    checkpoint-00000200.safetensors    the last KEPT of them
    log.csv                            a line for each iteration, its numbers to the last bit
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
LOG, LOCK = "log.csv", ".lock"
TITLES = "iteration,learning_rate,loss,accuracy\n"


class RunFolder:
    """A context in which the folder is this run's alone; made where it is not there.

    Entering it raises UsageError where another run has it, or where one is there and `resume` is
    false, and UserError where nothing can be written to it.
    """

    def __init__(self, path, resume):
        self.path, self.resume = Path(path), resume
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
            if not self.resume and ((self.path / LOG).exists() or self.checkpoints()):
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
        found = {int(match[1]): path for path in self.path.iterdir()
                 if (match := NAME.fullmatch(path.name))}
        return [found[number] for number in sorted(found, reverse=True)]

    def newest(self):
        """(the newest checkpoint that is whole or None, sentences about those that are not)."""
        skipped = []
        for path in self.checkpoints():
            try:
                return Checkpoint.load(path), skipped
            except DataError as error:
                skipped.append(f"skipped: {error}")
        return None, skipped

    def save(self, checkpoint):
        """Write the checkpoint, then remove those beyond KEPT; raises DataError."""
        path = self.path / f"checkpoint-{checkpoint.iteration:08}.safetensors"
        checkpoint.save(path)
        for old in self.checkpoints()[KEPT:]:
            old.unlink(missing_ok=True)
        return path

    def start_log(self, iteration):
        """Begin the log, or go on after `iteration`: lines beyond it are taken back."""
        path = self.path / LOG
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines[1:] if line.endswith("\n")
                and line.split(",")[0].isdecimal() and int(line.split(",")[0]) <= iteration]
        write_whole(path, "".join([TITLES, *kept]).encode())

    def log(self, result):
        """Add an iteration's line, whole or not at all; raises DataError where it can't be."""
        line = f"{result.iteration},{result.learning_rate!r},{result.loss!r},{result.accuracy!r}\n"
        path = self.path / LOG
        try:
            append_whole(path, line.encode())
        except OSError as error:
            raise DataError(f"{path} cannot be written ({reason(error)})") from error
