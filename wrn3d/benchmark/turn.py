"""One contender's turn, in a process of its own: `measure` starts it, and reads its figures.

    python -m wrn3d.benchmark.turn '{"contender": "keras", "case": "16-4", ...}'
"""
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

from wrn3d.benchmark.cases import CASES
from wrn3d.benchmark.contenders import CONTENDERS, Matmul
from wrn3d.runtime import peak_memory

WARM_UP = 2  # the graph is built in the first iteration, memory settles in the second
FEWEST = 3  # timed iterations


@dataclass(frozen=True)
class Turn:
    """What is measured, and for about how many seconds."""

    contender: str
    case: str
    precision: str
    seconds: float


@dataclass(frozen=True)
class Figures:
    """What came of it; memory in bytes, times in seconds, evaluation in volumes/s.

    The memory is that of training, the most that the process held, and of its imports alone.
    """

    iterations: list[float] = field(default_factory=list)
    first_iteration: float = 0.0
    evaluation: float = 0.0
    peak_memory: int = 0
    import_memory: int = 0
    operations_per_second: float = 0.0


class Failure(Exception):
    """A contender's process ended without figures; says why."""


class Stopwatch:
    """Seconds between laps, each the end of an iteration; the first counts from `start`."""

    def __init__(self, start, seconds):
        self.seconds, self.laps, self.last = seconds, [], start

    def lap(self) -> bool:
        """Note an iteration's end; returns whether enough were timed."""
        now = time.time()
        self.laps.append(now - self.last)
        self.last = now
        return len(self.timed) >= FEWEST and sum(self.timed) >= self.seconds

    @property
    def timed(self):
        return self.laps[WARM_UP:]


def measure(turn) -> Figures:
    """The figures of a turn in a fresh process; raises Failure."""
    request = json.dumps(asdict(turn) | {"start": time.time()})
    process = subprocess.run([sys.executable, "-m", "wrn3d.benchmark.turn", request],
                             capture_output=True, text=True)
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"exit status {process.returncode}"]
        raise Failure(lines[-1])
    return Figures(**json.loads(process.stdout.splitlines()[-1]))


def take_turn(start, **settings) -> Figures:
    """Measure in this process, which was started at the time `start`."""
    turn = Turn(**settings)
    if turn.contender == Matmul.name:
        return Figures(operations_per_second=Matmul.rate(turn.precision, turn.seconds))
    case, watch = CASES[turn.case], Stopwatch(start, turn.seconds)
    CONTENDERS[turn.contender].import_library()
    import_memory = peak_memory() or 0
    contender = CONTENDERS[turn.contender](case, turn.precision)
    contender.train(watch.lap)
    training_memory = peak_memory() or 0
    return Figures(watch.timed, watch.laps[0], _evaluation_rate(contender, turn.seconds / 2),
                   training_memory, import_memory)


def _evaluation_rate(contender, seconds):
    contender.evaluate()
    count, start = 0, time.time()
    while not count or time.time() - start < seconds:
        count += contender.evaluate()
    return count / (time.time() - start)


if __name__ == "__main__":
    print(json.dumps(asdict(take_turn(**json.loads(sys.argv[1])))))
