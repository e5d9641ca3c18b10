"""End a process that has waited too long for other workers.

TensorFlow notices a worker that was lost or cut off. It does not notice one that runs but never
joins in.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from wrn3d.system.errors import WorkerError

PATIENCE = 600  # idle seconds; the others may be building a graph or saving
BUSY = 0.2  # of a core: a process that uses more is computing, not only waiting


class _Wait:
    """A worker's wait: how many seconds its process has been idle."""

    def __init__(self, index: int) -> None:
        self.index, self.seconds = index, 0.0


_waits: list[_Wait] = []  # in progress


@contextmanager
def limited_wait(index: int) -> Iterator[None]:
    """End the process if it is idle for longer than PATIENCE in the context; `index` names it."""
    _start_watching()
    wait = _Wait(index)
    _waits.append(wait)
    try:
        yield
    finally:
        _waits.remove(wait)


@cache
def _start_watching() -> None:
    threading.Thread(target=_watch, daemon=True, name="patience").start()


def _watch() -> None:
    now, computed = time.monotonic(), time.process_time()
    while True:
        time.sleep(1)
        start, before = now, computed
        now, computed = time.monotonic(), time.process_time()
        busy = computed - before > BUSY * (now - start)
        for wait in list(_waits):
            wait.seconds = 0.0 if busy else wait.seconds + now - start
            if wait.seconds > PATIENCE:
                _end(wait)


def _end(wait: _Wait) -> None:
    message = (
        f"error: worker {wait.index} has waited for the others for {PATIENCE} seconds: "
        "start all workers again, with --resume if the run has a folder\n"
    )
    os.write(2, message.encode())
    os._exit(WorkerError.exit_status)  # an exception could not interrupt TensorFlow's call
