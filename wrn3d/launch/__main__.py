"""Start several workers of a run on this machine.

    python -m wrn3d.launch -n 2 cifar_wide_resnet_tl.py --dataset digits

What follows the script are its own flags. Each worker has its part of the cores and, where there
are some, a GPU; what it prints begins with its number. When one fails the others are ended.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wrn3d.distributed.workers import part
from wrn3d.system.checks import check_count, require
from wrn3d.system.errors import WorkerError
from wrn3d.system.exit_status import exit_status
from wrn3d.system.signals import NAMES, StopRequest

GRACE = 15.0  # seconds for the others to end by themselves when one has failed
POLL = 0.1  # seconds
STOPPED = [128 + number for number in NAMES]  # exit statuses of workers that were told to stop


@dataclass(frozen=True)
class LaunchConfig:
    """How a run is started."""

    workers: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 2
    """How many."""
    restarts: int = 0
    """How often all are started again, with --resume, where one died or hung; the run needs an
    --output for that."""


def launch(config, command) -> int:
    """Run the workers of a command, a script and its flags, once or as often as `restarts` allows;
    returns the exit status of the one that ended the run, 128 and a signal's number where it died
    of that. Raises UsageError for what cannot be started."""
    check_count("workers", config.workers)
    check_count("restarts", config.restarts, least=0)
    require(command, "there is nothing to start: name a script, and its flags after it")
    require(Path(command[0]).is_file(), f"{command[0]} is no file: name a script")
    gpus = visible_gpus()
    require(
        not gpus or config.workers <= len(gpus),
        f"there are only {len(gpus)} GPUs for "
        f"{config.workers} workers: start fewer, or none on GPUs (CUDA_VISIBLE_DEVICES=)",
    )
    require(
        not config.restarts or any(flag.split("=")[0] == "--output" for flag in command),
        "restarts go on from the run's checkpoints: add --output to the script's flags",
    )
    command, left = list(command), config.restarts
    while True:
        status, may_go_on = run_workers(command, config.workers)
        if not (may_go_on and left):
            return status
        left -= 1
        if "--resume" not in command:
            command.append("--resume")
        print(
            f"restarted {config.workers} workers from the last checkpoint, since one had ended "
            f"with status {status}; {left} more times at most",
            flush=True,
        )


def run_workers(command, count):
    """(the exit status, whether it is worth another start) of `count` workers of a script."""
    with ExitStack() as stack:
        processes = []
        stop = stack.enter_context(_Forwarded(processes))
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        for index in range(count):
            processes.append(stack.enter_context(_Worker(command, index, addresses)))
        stop.pass_on()
        first = _first_failure(processes)
        if first is None:
            return 0, False
        if first.status not in STOPPED:
            deadline = time.monotonic() + GRACE
            for process in processes:
                process.end()
        while any(process.running for process in processes) and (
            first.status in STOPPED or time.monotonic() < deadline
        ):
            time.sleep(POLL)  # after a stop the first worker may still be saving
    return first.status, stop.number is None and first.was_lost


def _first_failure(processes):
    """A worker that has failed, one that can say why if there is any; None when all are done."""
    while True:
        running = [process for process in processes if process.running]
        failed = [process for process in processes if process not in running and process.status]
        if failed:
            return min(failed, key=lambda process: process.status == WorkerError.exit_status)
        if not running:
            return None
        time.sleep(POLL)


class _Forwarded(StopRequest):
    """One that passes Ctrl-C and SIGTERM on to the workers; a second one kills them."""

    def __init__(self, processes):
        super().__init__()
        self.processes = processes

    def pass_on(self):
        """Tell all, once they are there, of a signal that came before."""
        if self.number is not None:
            for process in self.processes:
                process.process.send_signal(self.number)

    def _note(self, number, frame):
        for process in self.processes:
            if self.number is None:
                process.process.send_signal(number)
            else:
                process.process.kill()
        self.number = number


class _Worker:
    """A context with one worker's process, which is killed at its end."""

    def __init__(self, command, index, addresses):
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
            start_new_session=True,
        )  # Ctrl-C comes from here, once
        if hasattr(os, "sched_setaffinity"):
            with suppress(OSError):  # it may be gone already, as `running` will tell
                os.sched_setaffinity(self.process.pid, cores_of(index, len(addresses)))
        self.readers = [
            threading.Thread(target=_copy, args=(source, target, f"[{index}] "))
            for source, target in (
                (self.process.stdout, sys.stdout),
                (self.process.stderr, sys.stderr),
            )
        ]
        for reader in self.readers:
            reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.running:
            self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def status(self) -> int:
        """Of a process that has ended, as a shell has it."""
        number = self.process.returncode
        return number if number >= 0 else 128 - number

    @property
    def was_lost(self) -> bool:
        """Whether it died, or missed another that had: there is nothing wrong with the run."""
        return self.process.returncode < 0 or self.status == WorkerError.exit_status

    def end(self):
        """Ask it to."""
        if self.running:
            self.process.terminate()


def _copy(source, target, prefix):
    """Line by line, so that those of several workers do not mix. Where nobody reads them any more
    the worker is to notice."""
    with source, suppress(OSError):
        for line in source:
            target.write(f"{prefix}{line}")
            target.flush()


def cores_of(index, count) -> set[int]:
    """This process's cores that worker `index` of `count` may use; where there are fewer cores than
    workers, one that it shares (Linux)."""
    cores = sorted(os.sched_getaffinity(0))
    return set(cores[part(len(cores), index, count)]) or {cores[index * len(cores) // count]}


def visible_gpus() -> list[str]:
    """NVIDIA's that this process may use, as CUDA_VISIBLE_DEVICES names them or else Linux's
    driver: without a framework's start."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def free_ports(count) -> list[int]:
    """Of the loopback address, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def main(arguments=None) -> int:
    """Run the command line; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    own, command = _split(arguments)
    found = []
    failed = exit_status(
        lambda: found.append(
            launch(
                tyro.cli(
                    LaunchConfig, args=own, prog="python -m wrn3d.launch", description=__doc__
                ),
                command,
            )
        )
    )
    return failed or found[0]


def _split(arguments):
    """The launcher's own flags, which come first, and the script with its own."""
    for place, argument in enumerate(arguments):
        if argument.endswith(".py"):
            return arguments[:place], arguments[place:]
    return arguments, []


if __name__ == "__main__":
    sys.exit(main())
