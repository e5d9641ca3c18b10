"""Run the workers' processes: start them, copy their output, end all when one fails."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import FrameType
from typing import IO, Self

from wrn3d.launch.resources import cores_of, free_ports, visible_gpus
from wrn3d.system.errors import WorkerError
from wrn3d.system.signals import NAMES, StopRequest

GRACE = 15.0  # seconds that the others have to end by themselves after one has failed
POLL = 0.1  # seconds
STOPPED = [128 + number for number in NAMES]  # exit statuses of workers that a signal stopped


def run_workers(command: Sequence[str], count: int) -> tuple[int, bool]:
    """Start `count` workers with Python's arguments `command`, and wait until they end.

    Returns the exit status of the worker that failed first, or 0, and whether starting all again
    may help.
    """
    with ExitStack() as stack:
        workers: list[WorkerProcess] = []
        stop = stack.enter_context(_ForwardedSignals(workers))
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        for index in range(count):
            workers.append(stack.enter_context(WorkerProcess(command, index, addresses)))
        stop.forward_early_signal()
        failed = _first_failure(workers)
        if failed is None:
            return 0, False
        deadline = time.monotonic() + GRACE
        if failed.status in STOPPED:  # after a stop the first worker may still be saving
            deadline = float("inf")
        else:
            for worker in workers:
                worker.signal(signal.SIGTERM)
        while any(worker.running for worker in workers) and time.monotonic() < deadline:
            time.sleep(POLL)
    return failed.status, stop.number is None and failed.was_lost


class WorkerProcess:
    """A context with one worker's process; leaving the context kills the process."""

    def __init__(self, command: Sequence[str], index: int, addresses: Sequence[str]) -> None:
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        variables = os.environ | {"TF_CONFIG": json.dumps(task), "PYTHONUNBUFFERED": "1"}
        if gpus := visible_gpus():
            variables["CUDA_VISIBLE_DEVICES"] = gpus[index]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,  # Ctrl-C reaches it once, through the launcher
        )
        if hasattr(os, "sched_setaffinity"):
            with suppress(OSError):  # it may have ended already, as `running` will show
                os.sched_setaffinity(self.process.pid, cores_of(index, len(addresses)))
        streams = [(self.process.stdout, sys.stdout), (self.process.stderr, sys.stderr)]
        self.readers = [
            threading.Thread(target=_copy, args=(source, target, f"[{index}] "))
            for source, target in streams
        ]
        for reader in self.readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join()

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    @property
    def status(self) -> int:
        """Exit status of an ended process, or 128 + the number of the signal that killed it."""
        number = self.process.returncode
        return number if number >= 0 else 128 - number

    @property
    def was_lost(self) -> bool:
        """Whether a signal or the loss of another worker ended it, not an error of the run."""
        return self.process.returncode < 0 or self.status == WorkerError.exit_status

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        self.process.send_signal(number)


class _ForwardedSignals(StopRequest):
    """Forwards the first Ctrl-C or SIGTERM to the workers; a second one kills them."""

    def __init__(self, workers: list[WorkerProcess]) -> None:
        super().__init__()
        self.workers = workers

    def forward_early_signal(self) -> None:
        """Forward a signal that came before all workers were started."""
        if self.number is not None:
            self._send(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self._send(number)
        else:
            for worker in self.workers:
                worker.process.kill()  # Windows has no SIGKILL
        self.number = number

    def _send(self, number: int) -> None:
        for worker in self.workers:
            worker.signal(number)


def _first_failure(workers: Sequence[WorkerProcess]) -> WorkerProcess | None:
    """Wait until a worker fails and return it, or return None when all have succeeded.

    Prefers a worker with its own error to one that only reports the loss of another.
    """
    while True:
        running = [worker for worker in workers if worker.running]
        failed = [worker for worker in workers if worker not in running and worker.status]
        if failed:
            return min(failed, key=lambda worker: worker.status == WorkerError.exit_status)
        if not running:
            return None
        time.sleep(POLL)


def _copy(source: IO[str], target: IO[str], prefix: str) -> None:
    """Copy whole lines, so that those of several workers do not mix.

    Closing `source` when `target` cannot be written tells the worker that nobody reads it.
    """
    with source, suppress(OSError):
        for line in source:
            target.write(f"{prefix}{line}")
            target.flush()
