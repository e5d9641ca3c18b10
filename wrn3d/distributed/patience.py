"""End a process that waits for other workers, if a signal asks it to or if it takes too long.

TensorFlow notices a worker that was lost or cut off. It does not notice one that runs but never
joins in. Python runs no signal handlers while TensorFlow waits, so a thread watches for signals.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from typing import NoReturn

from wrn3d.distributed.peers import Peers
from wrn3d.system.errors import WorkerError
from wrn3d.system.signals import NAMES, stop_requested

PATIENCE = 600  # idle seconds; the others may be building a graph or saving
NOTICE = 15  # idle seconds until the process says that it waits
STOP = 5  # idle seconds after a signal, if one of the others does not answer
STOP_ALIVE = 30  # if all answer: a slower one may be finishing the iteration
BUSY = 0.2  # of a core: a process that uses more is computing, not only waiting
TICK = 1  # second
AGAIN = "start all workers again, with --resume if the run has a folder"


class _Wait:
    """A worker's wait: how many seconds its process has been idle, and since the first signal."""

    def __init__(self, peers: Peers) -> None:
        self.peers, self.seconds, self.after_signal = peers, 0.0, 0.0
        requested = stop_requested()
        self.signals = [requested] if requested else []
        self.has_spoken = False

    def pass_time(self, seconds: float, busy: bool) -> None:
        """Count the last seconds, and end the process if it is time."""
        if busy:
            self.seconds = self.after_signal = 0.0
            return
        self.seconds += seconds
        self.after_signal += seconds if self.signals else 0
        told_twice, is_late = len(self.signals) > 1, self.seconds > PATIENCE
        may_stop = self.after_signal > (TICK if told_twice else STOP)
        speaks = self.seconds > NOTICE and not self.has_spoken
        if not (may_stop or is_late or speaks):
            return
        silent = self.peers.silent()
        awaited = self.peers.awaited(silent)
        if may_stop and (silent or told_twice or self.after_signal > STOP_ALIVE):
            number = self.signals[-1]
            _end(f"stopped by {NAMES[number]} while waiting for {awaited}: {AGAIN}", 128 + number)
        if is_late:
            _end(f"error: {too_long(self.peers, awaited)}", WorkerError.exit_status)
        if speaks:
            self.has_spoken = True
            say(f"note: worker {self.peers.index} is waiting for {awaited}")


class _Signals:
    """Receives the signals that Python handles, even while the main thread is inside TensorFlow.

    Passes them on to an earlier receiver, such as asyncio.
    """

    def __init__(self) -> None:
        self.receiver, self.sender = socket.socketpair()
        self.receiver.setblocking(False)
        self.sender.setblocking(False)
        self.others = -1

    @contextmanager
    def told(self) -> Iterator[None]:
        """Receive signals in the context. Only the main thread can enter it."""
        own = self.sender.fileno()
        before = signal.set_wakeup_fd(own, warn_on_full_buffer=False)
        self.others = self.others if before == own else before
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            self.pass_on()

    def pass_on(self) -> None:
        """Tell all waits of the signals that have come."""
        with suppress(BlockingIOError):
            numbers = self.receiver.recv(1000)
            for wait in list(_waits):
                wait.signals += [number for number in numbers if number in NAMES]
            with suppress(OSError):
                os.write(self.others, numbers)


_waits: list[_Wait] = []  # in progress


def too_long(peers: Peers, awaited: str) -> str:
    """Return the sentence for a wait of PATIENCE seconds."""
    return f"worker {peers.index} has waited for {awaited} for {PATIENCE} seconds: {AGAIN}"


def say(sentence: str) -> None:
    """Write a line to standard error, at once and from any thread."""
    with suppress(OSError):  # nobody reads it
        os.write(2, f"{sentence}\n".encode())


@contextmanager
def limited_wait(peers: Peers) -> Iterator[None]:
    """Watch the process while it may be waiting for the others.

    Ends it if it is idle for longer than PATIENCE, or than STOP or STOP_ALIVE after Ctrl-C or
    SIGTERM, or at a second signal. Says whom it waits for after NOTICE idle seconds.
    """
    signals, wait = _signals(), _Wait(peers)
    in_main_thread = threading.current_thread() is threading.main_thread()
    _waits.append(wait)
    try:
        with signals.told() if in_main_thread else nullcontext():
            yield
    finally:
        _waits.remove(wait)


@cache
def _signals() -> _Signals:
    signals = _Signals()
    threading.Thread(target=_watch, args=(signals,), daemon=True, name="patience").start()
    return signals


def _watch(signals: _Signals) -> None:
    start, computed = time.monotonic(), time.process_time()
    while True:
        select.select([signals.receiver], [], [], TICK)
        signals.pass_on()
        seconds, seconds_computed = time.monotonic() - start, time.process_time() - computed
        if seconds < TICK / 2:  # too short to tell whether it computes
            continue
        for wait in list(_waits):
            wait.pass_time(seconds, busy=seconds_computed > BUSY * seconds)
        start, computed = time.monotonic(), time.process_time()


def _end(sentence: str, status: int) -> NoReturn:
    say(sentence)
    with suppress(OSError, ValueError, AttributeError):  # it is closed, or there is none
        sys.stdout.flush()
    os._exit(status)  # an exception could not interrupt TensorFlow's call
