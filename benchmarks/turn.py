"""One contender's turn, in a process of its own: `measure` starts it, and reads its figures.

python -m benchmarks.turn '{"contender": "keras", "case": "16-4", ...}'
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

from benchmarks.cases import CASES
from benchmarks.ceiling import MATMUL, matmul_rate
from benchmarks.contenders import CONTENDERS
from wrn3d.system.errors import reason
from wrn3d.system.memory import peak_memory

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

    `first_iteration` counts from the start of the process. The memory is the most that the
    process held in training, and after importing its libraries; 0 where the system does not tell.
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
    """Seconds between laps, each the end of an iteration; the first took `elapsed` more."""

    def __init__(self, elapsed, seconds):
        self.seconds, self.laps, self.last = seconds, [], time.perf_counter() - elapsed

    def lap(self) -> bool:
        """Note an iteration's end; returns whether enough were timed."""
        now = time.perf_counter()
        self.laps.append(now - self.last)
        self.last = now
        return len(self.timed) >= FEWEST and sum(self.timed) >= self.seconds

    @property
    def timed(self):
        return self.laps[WARM_UP:]


def measure(turn) -> Figures:
    """The figures of a turn in a fresh process, without GPUs; raises Failure."""
    request = json.dumps(asdict(turn) | {"start": time.time()})
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.turn", request],
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        output, errors = process.communicate()
    except BaseException:  # Ctrl-C: nothing is left running
        process.kill()
        process.wait()
        raise
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise Failure(f"ended by {name}" + (", out of memory?" if name == "SIGKILL" else ""))
    if process.returncode:
        raise Failure((errors.strip().splitlines() or ["no reason was given"])[-1])
    return Figures(**json.loads(output.splitlines()[-1]))


def take_turn(start, **settings) -> Figures:
    """Measure in this process, which was started at the time `start`."""
    turn = Turn(**settings)
    if turn.contender == MATMUL:
        return Figures(operations_per_second=matmul_rate(turn.precision, turn.seconds))
    watch = Stopwatch(time.time() - start, turn.seconds)
    contender_class = CONTENDERS[turn.contender]
    contender_class.import_libraries()
    import_memory = peak_memory() or 0
    contender = contender_class(CASES[turn.case], turn.precision)
    contender.train(watch.lap)
    training_memory = peak_memory() or 0
    return Figures(
        watch.timed,
        watch.laps[0],
        _evaluation_rate(contender, turn.seconds / 2),
        training_memory,
        import_memory,
    )


def _evaluation_rate(contender, seconds):
    contender.evaluate()
    count, start = 0, time.perf_counter()
    while not count or time.perf_counter() - start < seconds:
        count += contender.evaluate()
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(take_turn(**json.loads(sys.argv[1])))))
    except Exception as error:
        print(f"{type(error).__name__}: {reason(error)}", file=sys.stderr)
        sys.exit(1)
