"""Run the workers' processes: start them, copy their output, end all when one fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import FrameType
from typing import NamedTuple, Self

from wrn3d.launch.group import ProcessGroup
from wrn3d.launch.resources import cores_of, free_ports, visible_gpus
from wrn3d.launch.streams import CopiedStream
from wrn3d.system.errors import WorkerError
from wrn3d.system.signals import NAMES, StopRequest, signal_name

GRACE = 15.0  # seconds that the others have to end by themselves after one has failed
POLL = 0.1  # seconds
STOPPED = [128 + number for number in NAMES]  # exit statuses of scripts that a signal stopped


class Outcome(NamedTuple):
    """How a run of several workers ended.

    `status` is the exit status of the worker that failed first, or 0. `killed` says which worker a
    signal killed, unless the launcher was asked to stop. `lost` is whether starting all workers
    again may help.
    """

    status: int = 0
    killed: str = ""
    lost: bool = False


def run_workers(command: Sequence[str], count: int) -> Outcome:
    """Start `count` workers with Python's arguments `command`, and wait until they end.

    When the first one has failed, ends the others. At the end, kills what the workers have left
    running.
    """
    with ExitStack() as stack:
        group = stack.enter_context(ProcessGroup())
        workers: list[WorkerProcess] = []
        stop = stack.enter_context(_ForwardedSignals(group, workers))
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        for index in range(count):
            workers.append(stack.enter_context(WorkerProcess(group, command, index, addresses)))
        stack.callback(group.kill)  # before the workers' output is taken to be complete
        stop.forward_early_signal()
        failed = _first_failure(workers)
        if failed is None:
            return Outcome()
        _end_others(workers, failed, stop)
    if stop.number is None:
        return failed.outcome
    return Outcome(128 + stop.number if failed.signal_number else failed.status)


class WorkerProcess:
    """A context with one worker's process; leaving the context kills the process."""

    def __init__(
        self, group: ProcessGroup, command: Sequence[str], index: int, addresses: Sequence[str]
    ) -> None:
        self.index = index
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        variables = os.environ | {"TF_CONFIG": json.dumps(task), "PYTHONUNBUFFERED": "1"}
        if gpus := visible_gpus():
            variables["CUDA_VISIBLE_DEVICES"] = gpus[index]
        self.streams = [CopiedStream(each, f"[{index}] ") for each in (sys.stdout, sys.stderr)]
        output, errors = self.streams
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output.end,
            stderr=errors.end,
            process_group=group.number,  # Ctrl-C reaches it once, through the launcher
        )
        group.watch(self.process.pid)
        if hasattr(os, "sched_setaffinity"):
            with suppress(OSError):  # it may have ended already, as `running` will show
                os.sched_setaffinity(self.process.pid, cores_of(index, len(addresses)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in self.streams:
            stream.finish()

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    @property
    def signal_number(self) -> int:
        """Number of the signal that killed an ended process, or 0."""
        return max(0, -self.process.returncode)

    @property
    def status(self) -> int:
        """Exit status of an ended process; a worker that a signal killed is a lost one."""
        return WorkerError.exit_status if self.signal_number else self.process.returncode

    @property
    def outcome(self) -> Outcome:
        """What this worker's failure means for the run."""
        number = self.signal_number
        killed = f"worker {self.index} was killed by {signal_name(number)}" if number else ""
        return Outcome(self.status, killed, self.status == WorkerError.exit_status)

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        self.process.send_signal(number)


class _ForwardedSignals(StopRequest):
    """Forwards the first Ctrl-C or SIGTERM to the workers; a second one kills them."""

    def __init__(self, group: ProcessGroup, workers: list[WorkerProcess]) -> None:
        super().__init__()
        self.group, self.workers = group, workers

    def forward_early_signal(self) -> None:
        """Forward a signal that came before all workers were started."""
        if self.number is not None:
            self._send(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        earlier, self.number = self.number, number  # first: another signal may interrupt this
        if earlier is None:
            self._send(number)
        else:
            for worker in self.workers:
                worker.process.kill()  # Windows has no SIGKILL
            self.group.kill()

    def _send(self, number: int) -> None:
        for worker in self.workers:
            worker.signal(number)


def _first_failure(workers: Sequence[WorkerProcess]) -> WorkerProcess | None:
    """Wait until a worker fails and return it, or return None when all have succeeded.

    Prefers a killed worker, then one with its own error, to one that only reports such a loss.
    """
    while True:
        running = [worker for worker in workers if worker.running]
        failed = [worker for worker in workers if worker not in running and worker.status]
        if failed:
            return max(failed, key=_says_why)
        if not running:
            return None
        time.sleep(POLL)


def _says_why(worker: WorkerProcess) -> tuple[bool, bool]:
    return worker.signal_number > 0, worker.status != WorkerError.exit_status


def _end_others(workers: Sequence[WorkerProcess], failed: WorkerProcess, stop: StopRequest) -> None:
    """Wait until the workers end after one has failed, for GRACE seconds.

    When a worker stopped because of a signal, the first one may still be saving: it gets no second
    signal, which would end it at once. If that was the launcher's signal, there is no limit, since
    another one to the launcher kills them.
    """
    has_stopped = failed.status in STOPPED or failed.signal_number == stop.number
    if stop.number is None and not has_stopped:
        for worker in workers:
            worker.signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while any(worker.running for worker in workers) and (
        time.monotonic() < deadline or (stop.number is not None and has_stopped)
    ):
        time.sleep(POLL)
