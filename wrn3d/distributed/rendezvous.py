"""Wait until all workers are there, before they join TensorFlow's cluster.

TensorFlow's own wait says nothing, holds Python's lock and ignores signals. So before it starts,
the first worker listens at its address and the others connect. It tells them who is missing, and
when to join.
"""

import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from wrn3d.distributed import patience
from wrn3d.distributed.peers import Peers, split_address
from wrn3d.system.errors import UsageError, WorkerError
from wrn3d.system.signals import NAMES

PAUSE = 0.2  # seconds between two connections, or two messages of the first worker
HELLO = 2.0  # seconds in which a caller has to say who it is
SILENCE = 30.0  # seconds without a message after which the first worker counts as lost
LEFT_ALONE = 60.0  # seconds in which an older cluster ends, since it has lost this worker
LONGEST = 40  # bytes of a caller's line
GREETING = b"wrn3d\n"  # the first worker's, before the caller speaks
WAIT, GO, REFUSED = "wait", "go", "refused"  # its messages


def meet(peers: Peers) -> None:
    """Return when all workers have called this.

    Raises UsageError if this worker cannot listen at its own address or another one has its number,
    and WorkerError if the wait takes longer than PATIENCE or the first worker is lost. Ctrl-C and
    SIGTERM end the wait at once.
    """
    wait = _Wait(peers)
    with _listening(peers) as server, wait.said_at_the_end():
        if peers.index == 0:
            _gather(server, peers, wait)
        else:
            _call_the_first(peers, wait)


class _Wait:
    """Says for whom this worker waits: after NOTICE seconds, and when a signal ends the wait."""

    def __init__(self, peers: Peers) -> None:
        self.peers, self.start, self.has_spoken = peers, time.monotonic(), False
        self.missing = peers.others

    @property
    def awaited(self) -> str:
        return self.peers.names(self.missing)

    def go_on(self, missing: Iterable[int]) -> None:
        """Note who is missing. Raises WorkerError after PATIENCE seconds."""
        self.missing = list(missing)
        seconds = time.monotonic() - self.start
        if seconds > patience.PATIENCE:
            raise WorkerError(patience.too_long(self.peers, self.awaited))
        if seconds > patience.NOTICE and not self.has_spoken:
            self.has_spoken = True
            patience.say(f"note: worker {self.peers.index} is waiting for {self.awaited}")

    @contextmanager
    def said_at_the_end(self) -> Iterator[None]:
        """Say whom this worker was waiting for when Ctrl-C, or SIGTERM by default, ends it."""
        is_default = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        )
        try:
            if is_default:
                signal.signal(signal.SIGTERM, self._stop)
            yield
        except KeyboardInterrupt:
            patience.say(f"worker {self.peers.index} was waiting for {self.awaited}")
            raise
        finally:
            if is_default:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        patience.say(f"stopped by {NAMES[number]} while waiting for {self.awaited}")
        sys.exit(128 + number)


@contextmanager
def _listening(peers: Peers) -> Iterator[socket.socket]:
    """Listen at this worker's port, at all of this machine's addresses, as gRPC will."""
    address = peers.address(peers.index)
    dual = socket.has_dualstack_ipv6()
    try:
        server = socket.create_server(
            ("", split_address(address)[1]),
            family=socket.AF_INET6 if dual else socket.AF_INET,
            dualstack_ipv6=dual,
            backlog=peers.count,
        )
    except OSError as error:
        problem = os.strerror(error.errno or 0).lower()
        raise UsageError(
            f"worker {peers.index} cannot listen at its own address {address} ({problem}): "
            "give each worker a number and a free port of its own"
        ) from error
    with server:
        yield server


def _gather(server: socket.socket, peers: Peers, wait: _Wait) -> None:
    """Wait for the calls of all others, and tell them to go."""
    here: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        try:
            while missing := [number for number in peers.others if number not in here]:
                wait.go_on(missing)
                for number, caller in here.items():
                    _send(caller, WAIT, *(each for each in missing if each != number))
                for key, _ in selector.select(PAUSE):
                    if key.fileobj is server:
                        if answered := _answer(server, peers, here):
                            number, caller = answered
                            here[number] = caller
                            selector.register(caller, selectors.EVENT_READ, number)
                    else:  # it has ended
                        caller = here.pop(key.data)
                        selector.unregister(caller)
                        caller.close()
            server.close()  # before TensorFlow listens there
            for caller in here.values():
                _send(caller, GO)
        finally:
            for caller in here.values():
                caller.close()


def _answer(
    server: socket.socket, peers: Peers, here: Collection[int]
) -> tuple[int, socket.socket] | None:
    """Accept a call; return the caller's number and connection, or None if it is refused."""
    caller = server.accept()[0]
    caller.settimeout(HELLO)
    with suppress(OSError, ValueError):  # not one of the workers
        caller.sendall(GREETING)
        number, count = map(int, caller.recv(LONGEST).split())
        if count == peers.count and number in {*peers.others}.difference(here):
            return number, caller
        _send(caller, REFUSED)
    caller.close()
    return None


def _call_the_first(peers: Peers, wait: _Wait) -> None:
    """Call the first worker until it says that all are there.

    Raises WorkerError if TensorFlow's server answers for more than LEFT_ALONE seconds.
    """
    start = time.monotonic()
    while True:
        wait.go_on([0])
        with (
            suppress(OSError),  # it is not there yet
            socket.create_connection(split_address(peers.address(0)), HELLO) as connection,
        ):
            greeting = connection.recv(len(GREETING))
            if greeting == GREETING:
                connection.sendall(f"{peers.index} {peers.count}\n".encode())
                if _listen(connection, peers, wait):
                    return
            elif greeting and time.monotonic() - start > LEFT_ALONE:
                raise WorkerError(
                    f"worker {peers.index} cannot join: {peers.names([0])} has started without it; "
                    f"{patience.AGAIN}"
                )
        time.sleep(PAUSE)


def _listen(connection: socket.socket, peers: Peers, wait: _Wait) -> bool:
    """Return whether the first worker has said to go; False if it closes the connection before."""
    connection.settimeout(SILENCE)
    for line in connection.makefile(errors="replace"):
        message, *numbers = line.split() or [""]
        if message == GO:
            return True
        if message == WAIT:
            wait.go_on(int(number) for number in numbers if number.isdecimal())
        if message == REFUSED:
            raise UsageError(
                f"worker {peers.index} ({peers.address(peers.index)}) is not expected by "
                f"{peers.names([0])}: give each worker a number of its own and all the same list "
                "of workers"
            )
    return False


def _send(receiver: socket.socket, message: str, *numbers: int) -> None:
    with suppress(OSError):  # the receiver has ended, as the selector will say
        receiver.sendall(f"{' '.join(map(str, [message, *numbers]))}\n".encode())
