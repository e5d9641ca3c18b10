"""Let a contender take turns in a process of its own. `processes` starts it.

python -m benchmarks.participant '{"calls": FIFO, "start": SECONDS, "work": "training", ...}'

Its first line of JSON says that it is warmed up. Then, for each line of the FIFO `calls`, it runs
a few iterations and prints a line with the figures. It computes nothing while it waits.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, STOCK
from benchmarks.processes import Figures
from benchmarks.worker import answer_calls, tell
from wrn3d.system.errors import reason
from wrn3d.system.memory import peak_memory
from wrn3d.system.tensorflow_setup import quick_imports, set_threads

WARM_UP = 2  # the first iteration builds the graph; memory settles in the second


def take_part(
    calls: str,
    start: float,
    work: str,
    case: Sequence,
    precision: str,
    contender: str,
    seconds: float,
) -> None:
    """Take turns of so many `seconds`. The process began at the time `start`."""
    chosen = CONTENDERS[contender]
    if contender == STOCK:  # importing wrn3d has set it; a newcomer has not
        os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
    is_own = not chosen.is_rival and contender != STOCK
    with quick_imports() if is_own else nullcontext():
        if chosen.shards > 1:
            set_threads(chosen.shards)  # before TensorLayer's import, which computes
        for module in chosen.imports if work != "start" else ():  # which imports them itself
            importlib.import_module(module)
    common = {"import memory": peak_of_memory()}
    program = chosen.makers[work](Case(*case), precision)
    turns = take_turns(calls, start, seconds, common)
    next(turns)
    program.run(lambda: next(turns, True))


def take_turns(calls: str, start: float, seconds: float, common: Figures) -> Iterator[bool]:
    """Yield False before each iteration, and end when no more calls come.

    A turn has at least one iteration, and no more than fit into `seconds`. Its figures are the
    mean seconds of an iteration, the number of iterations, the seconds of the first step since
    `start`, the peak of memory in bytes, and those in `common`.
    """
    for number in range(WARM_UP):
        yield False
        if number == 0:
            common = common | {"first step": time.perf_counter() - start}
    for _ in answer_calls(calls, common | {"memory": peak_of_memory()}):
        begin, count, elapsed = time.perf_counter(), 0, 0.0
        while count == 0 or elapsed + elapsed / count <= seconds:
            yield False
            count, elapsed = count + 1, time.perf_counter() - begin
        figures = {"seconds": elapsed / count, "iterations": count, "memory": peak_of_memory()}
        tell(common | figures)


def peak_of_memory() -> float:
    """Return the most bytes that this process has held, 0 if the system does not tell."""
    return float(peak_memory() or 0)


if __name__ == "__main__":
    try:
        take_part(**json.loads(sys.argv[1]))
    except Exception as error:
        print(f"{type(error).__name__}: {reason(error)}", file=sys.stderr)
        sys.exit(1)
