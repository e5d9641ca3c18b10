"""Start processes that measure and print their results as lines of JSON."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from wrn3d.system import machine
from wrn3d.system.checks import require
from wrn3d.system.errors import UserError
from wrn3d.system.interrupts import uninterrupted
from wrn3d.system.words import counted

ROOT = Path(__file__).resolve().parents[1]  # holds the project's modules
WORKER = ROOT / "benchmarks" / "worker.py"
Figures = dict[str, float]  # {name: what a turn measured}
Turn = Callable[[], Figures]


@contextmanager
def started(
    title: str, command: Sequence[str], project: Path = ROOT, **variables: str
) -> Iterator[Iterator[dict]]:
    """Start a command with additional environment variables; yield an iterator of its results.

    It imports the modules of the folder `project`. The iterator raises UserError if the process
    ends before it has printed another result; the message calls the process `title`. The process
    ends with the context, and its temporary files go with it. PyTorch compiles into an empty cache.
    """
    path = os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH")]))
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        ExitStack() as stack,
    ):
        cache = str(Path(folder) / "compiled")
        variables |= {"TMPDIR": folder, "TORCHINDUCTOR_CACHE_DIR": cache}
        with uninterrupted():  # Ctrl-C between start and `with` would leave the process behind
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=project,
                    env=os.environ | {"PYTHONPATH": path} | variables,
                )
            )
            stack.callback(process.terminate)
        yield _results(title, process, errors)


def _results(title, process, errors):
    for line in process.stdout:
        text = line.removeprefix("[0] ")  # the launcher's mark of the first worker
        if text.startswith("{"):
            yield json.loads(text)
    status = process.wait()
    errors.seek(0)
    reason = (errors.read().strip().splitlines() or ["it gave no reason"])[-1]
    if status < 0:
        reason = f"ended by {signal.Signals(-status).name}"
        reason += ", out of memory?" if status == -signal.SIGKILL else ""
    raise UserError(f"{title} failed: {reason}")


def require_cores_for_workers() -> None:
    """Raise UsageError unless this machine's cores can be divided between workers."""
    require(
        hasattr(os, "sched_setaffinity") and machine.usable_cores() > 1,
        "this benchmark divides cores between workers: run it on Linux with two or more cores",
    )


@contextmanager
def started_workers(
    count: int,
    case: Case,
    steps: int,
    settings: Mapping[str, Any] | None = None,
    project: Path = ROOT,
    before: Sequence[str] = (),
    **request: Any,
) -> Iterator[Turn]:
    """Start workers that train with `settings`, and warm them up; yield a function that makes them
    take `steps` steps and returns what `worker.measure` does.

    They import the version of the project in the folder `project`. `before` goes before the
    command. The workers wait for a call without using the cores. Raises UserError if one fails.
    """
    launcher = ["-m", "wrn3d.launch", "-n", str(count)] if count > 1 else []
    request |= {"case": astuple(case), "settings": settings or {}, "steps": steps}
    command = [*before, sys.executable, *launcher, str(WORKER)]
    title = f"measuring {counted(count, 'worker')}"
    with called(title, command, request, project) as (ready, call):
        ready()
        yield call


@contextmanager
def called(
    title: str,
    command: Sequence[str],
    request: Mapping[str, Any],
    project: Path = ROOT,
    **variables: str,
) -> Iterator[tuple[Turn, Turn]]:
    """Start a process that measures at each call, as `started` does.

    The command gets one more argument, JSON of the `request`, with the path of a FIFO of calls and
    the time of the start. Yields two functions. The first, to call once, waits until the process is
    ready and returns the figures of its start. The second makes the process take a turn and returns
    its figures.
    """
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder) / "calls"
        os.mkfifo(calls)
        text = json.dumps({**request, "calls": str(calls), "start": time.perf_counter()})
        with (
            started(title, [*command, text], project, **variables) as results,
            open(calls, "r+b", buffering=0) as fifo,  # "wb" would wait for a reader
        ):

            def call() -> Figures:
                fifo.write(b"\n")
                return next(results)

            yield partial(next, results), call


def in_rounds(
    turns: Mapping[str, Turn], rounds: int, advance: Callable[[], Any] = lambda: None
) -> Iterator[dict[str, Figures]]:
    """Take all turns in each round, in reverse in every other; yield each round's figures.

    Calls `advance()` after each turn.
    """
    for number in range(rounds):
        figures = {}
        for name in list(turns)[:: -1 if number % 2 else 1]:
            figures[name] = turns[name]()
            advance()
        yield {name: figures[name] for name in turns}
