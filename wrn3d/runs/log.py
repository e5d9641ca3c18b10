"""CSV files with numbers about iterations, of whole lines alone."""

import os
import re
from itertools import chain

from wrn3d.system.errors import DataError
from wrn3d.system.files import append_atomic, atomic_file, file_errors, flush

NUMBER = rb"-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?|nan|-?inf"  # as repr writes it


class Log:
    """A file of lines for some iterations each; `columns` are those beside the iteration."""

    def __init__(self, path, columns):
        self.path, self.columns = path, ("iteration", *columns)
        self.header = _line(self.columns)
        numbers = len(columns) * (b",(?:%s)" % NUMBER)
        self.whole_line = re.compile(b"([0-9]{1,15})" + numbers + b"\n")
        self.waiting = []  # (iteration, line), not written yet

    def start(self, iteration) -> int:
        """Begin it, or go on after `iteration`: what is beyond it is taken back, and what a killed
        process or a damaged disk has left is no line. Returns how many lines there are. Raises
        what `atomic_file` does."""
        gap = not self._has_header()
        self.waiting = [line for line in self.waiting if line[0] <= iteration]
        count, size = len(self.waiting), len(self.header)
        for offset, number, line in self._lines():
            if number <= iteration:
                count, size, gap = count + 1, size + len(line), gap or offset != size
        if not gap:
            with file_errors(self.path):
                os.truncate(self.path, size)  # also on a full disk
            return count
        with atomic_file(self.path) as unfinished, unfinished.open("wb") as file:
            file.write(self.header)
            file.writelines(line for _, number, line in self._lines() if number <= iteration)
        return count

    def hold(self, iteration, *numbers):
        """Add a line when what waits is written next."""
        self.waiting.append((iteration, _line((iteration, *map(repr, numbers)))))

    def add(self, iteration, *numbers):
        """Add a line, whole or not at all; raises DataError where it can't be, and then adds it
        with the next one."""
        self.hold(iteration, *numbers)
        self.write()

    def write(self):
        """Write the lines that wait; raises DataError, and then they wait on."""
        if self.waiting:
            with file_errors(self.path):
                append_atomic(self.path, b"".join(line for _, line in self.waiting))
            self.waiting.clear()

    def flush(self):
        """Have everything on the disk, lines that waited, too; raises DataError."""
        self.write()
        with file_errors(self.path):
            flush(self.path)

    def count(self) -> int:
        """How many lines there are, those that wait included; raises DataError."""
        return sum(1 for _ in self._lines()) + len(self.waiting)

    def rows(self):
        """Each line as (iteration, number, ...), also those that wait; raises DataError."""
        for line in chain((line for *_, line in self._lines()), (line for _, line in self.waiting)):
            first, *others = line.split(b",")
            yield int(first), *map(float, others)

    def column(self, name) -> dict[int, float]:
        """{iteration: number} of one column; raises DataError."""
        place = self.columns.index(name)
        return {row[0]: row[place] for row in self.rows()}

    def _has_header(self):
        """A damaged one does not matter, since the lines tell; raises DataError for another
        version's."""
        if not os.path.exists(self.path):
            return False
        with file_errors(self.path, "read"), self.path.open("rb") as file:
            found = file.readline(1000)
        if found.startswith(b"iteration,") and found.count(b",") != self.header.count(b","):
            raise DataError(
                f"{self.path} has other columns than this version's: name another "
                "folder with --output"
            )
        return found == self.header

    def _lines(self):
        """(where it begins, iteration, line) of each line of the file that is one; a long log is
        never in memory as a whole."""
        if not os.path.exists(self.path):
            return
        offset = 0
        with file_errors(self.path, "read"), self.path.open("rb") as file:
            for line in file:
                if match := self.whole_line.fullmatch(line):
                    yield offset, int(match[1]), line
                offset += len(line)


def _line(values):
    return (",".join(map(str, values)) + "\n").encode()


class EpochMeans:
    """Over an epoch's iterations, as they come: the last learning rate, mean loss and accuracy."""

    COLUMNS = ("learning_rate", "loss", "accuracy")

    def __init__(self):
        self.epoch = self.learning_rate = None
        self.count, self.loss, self.accuracy = 0, 0.0, 0.0

    def add(self, epoch, learning_rate, loss, accuracy):
        """Take in an iteration's; with another epoch than the last one's they begin anew."""
        if epoch != self.epoch:
            self.epoch, self.count, self.loss, self.accuracy = epoch, 0, 0.0, 0.0
        self.learning_rate = learning_rate
        self.count += 1
        self.loss += loss
        self.accuracy += accuracy

    @property
    def means(self) -> tuple[float, float, float]:
        """Of COLUMNS."""
        return self.learning_rate, self.loss / self.count, self.accuracy / self.count
