"""CSV logs of a run. They survive kills, full disks and damage: only complete lines count."""

import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from math import nan
from pathlib import Path

from wrn3d.system.errors import DataError
from wrn3d.system.files import append_atomic, atomic_file, file_errors, flush

LONGEST_HEADER = 10_000  # bytes
NUMBER = rb"-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?|nan|-?inf"  # as `repr` writes a number


class Log:
    """A CSV file with one line of numbers per iteration; `columns` are those after `iteration`.

    `buffer` adds a line to `pending`. `write` appends the pending lines to the file. If that fails,
    they stay pending for the next write.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, ("iteration", *columns)
        self.header = _line(self.columns)
        numbers = len(columns) * (b",(?:%s)" % NUMBER)
        self.complete_line = re.compile(b"([0-9]{1,15})" + numbers + b"\n")
        self.pending: list[tuple[int, bytes]] = []  # (iteration, line)

    def start(self, iteration: int) -> int:
        """Create the file, or drop its damaged lines and those after `iteration`.

        Returns the number of lines that are left, pending ones included. Raises DataError if the
        file cannot be read or written, or has the columns of another version.
        """
        damaged = not self._has_header()
        self.pending = [line for line in self.pending if line[0] <= iteration]
        count, size = len(self.pending), len(self.header)
        for offset, number, line in self._complete_lines():
            if number <= iteration:
                count, size = count + 1, size + len(line)
                damaged = damaged or offset + len(line) != size
        if damaged:
            self._rewrite(iteration)
        else:
            with file_errors(self.path):
                os.truncate(self.path, size)  # works on a full disk, too
        return count

    def adapt(self) -> None:
        """Rewrite a file with other columns: keep those of the same names, with NaN in new ones.

        Raises DataError if the file cannot be read or written.
        """
        names = header(self.path)
        if not names or tuple(names) == self.columns:
            return
        before = Log(self.path, names[1:])
        with atomic_file(self.path) as unfinished, unfinished.open("wb") as file:
            file.write(self.header)
            for row in before.rows():
                known = dict(zip(names, row, strict=True))
                others = (repr(known.get(name, nan)) for name in self.columns[1:])
                file.write(_line((int(row[0]), *others)))

    def buffer(self, iteration: int, *numbers: float) -> None:
        """Add a line to the pending ones."""
        self.pending.append((iteration, _line((iteration, *map(repr, numbers)))))

    def write(self) -> None:
        """Append the pending lines in one write; raise DataError and keep them if it fails."""
        if self.pending:
            with file_errors(self.path):
                append_atomic(self.path, b"".join(line for _, line in self.pending))
            self.pending.clear()

    def flush(self) -> None:
        """Write the pending lines and sync the file to the disk; raise DataError if it fails."""
        self.write()
        with file_errors(self.path):
            flush(self.path)

    def rows(self) -> Iterator[tuple[float, ...]]:
        """Yield (iteration, number, ...) for each line, pending ones included.

        Raises DataError if the file cannot be read.
        """
        written = (line for *_, line in self._complete_lines())
        for line in chain(written, (line for _, line in self.pending)):
            first, *others = line.split(b",")
            yield int(first), *map(float, others)

    def column(self, name: str) -> dict[int, float]:
        """Return {iteration: number} of one column; raise DataError if the file is unreadable."""
        place = self.columns.index(name)
        return {int(row[0]): row[place] for row in self.rows()}

    def _has_header(self) -> bool:
        """Return whether the header is intact; raise DataError if another version wrote it."""
        if not os.path.exists(self.path):
            return False
        with file_errors(self.path, "read"), self.path.open("rb") as file:
            first = file.readline(1000)
        if first.startswith(b"iteration,") and first.count(b",") != self.header.count(b","):
            raise DataError(
                f"{self.path} has the columns of another version: name another folder with --output"
            )
        return first == self.header

    def _complete_lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield (offset, iteration, line) of each complete line, without loading the whole log."""
        if not os.path.exists(self.path):
            return
        offset = 0
        with file_errors(self.path, "read"), self.path.open("rb") as file:
            for line in file:
                if match := self.complete_line.fullmatch(line):
                    yield offset, int(match[1]), line
                offset += len(line)

    def _rewrite(self, iteration: int) -> None:
        with atomic_file(self.path) as unfinished, unfinished.open("wb") as file:
            file.write(self.header)
            lines = self._complete_lines()
            file.writelines(line for _, number, line in lines if number <= iteration)


def _line(values: Sequence[object]) -> bytes:
    return (",".join(map(str, values)) + "\n").encode()


def header(path: Path) -> list[str]:
    """Return the columns of a log; none if it is missing or damaged."""
    try:
        with path.open("rb") as file:
            return file.readline(LONGEST_HEADER).decode().strip().split(",")
    except (OSError, UnicodeError):
        return []


class EpochMeans:
    """Last learning rate, mean loss and mean accuracy of the current epoch's iterations."""

    COLUMNS = ("learning_rate", "loss", "accuracy")

    def __init__(self) -> None:
        self.epoch: float | None = None
        self.learning_rate = self.loss = self.accuracy = 0.0
        self.count = 0

    def add(self, epoch: float, learning_rate: float, loss: float, accuracy: float) -> None:
        """Add an iteration; the first one of a new epoch restarts the means."""
        if epoch != self.epoch:
            self.epoch, self.count, self.loss, self.accuracy = epoch, 0, 0.0, 0.0
        self.learning_rate = learning_rate
        self.count += 1
        self.loss += loss
        self.accuracy += accuracy

    @property
    def means(self) -> tuple[float, float, float]:
        """The epoch's values, in the order of COLUMNS."""
        return self.learning_rate, self.loss / self.count, self.accuracy / self.count
