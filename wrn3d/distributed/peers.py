"""Name the other workers of a run in messages, and find those that do not answer."""

import re
import socket
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress

ANSWER = 0.5  # seconds that a worker has to answer
ANSWERS = 2.0  # seconds that all of them have
MOST_NAMES = 3


class Peers:
    """The workers of a run: `index` is this one.

    `tasks` has TensorFlow's name and the address of each, in the order of their numbers, such as
    ("/job:worker/task:1", "10.0.0.1:2222").
    """

    def __init__(self, index: int, tasks: Sequence[tuple[str, str]]) -> None:
        self.index, self.tasks = index, tasks
        self.others = [number for number in range(len(tasks)) if number != index]

    @property
    def count(self) -> int:
        """Number of workers, this one included."""
        return len(self.tasks)

    def address(self, number: int) -> str:
        """Return the address of a worker."""
        return self.tasks[number][1]

    def names(self, numbers: Iterable[int]) -> str:
        """Return the numbers and addresses of some workers as one phrase."""
        names = [f"worker {number} ({self.address(number)})" for number in numbers]
        if len(names) > MOST_NAMES:
            names[MOST_NAMES - 1 :] = [f"{len(names) - MOST_NAMES + 1} others"]
        return " and ".join(names)

    def named_in(self, text: str) -> list[int]:
        """Return the workers that an error of TensorFlow names."""
        named = set(re.findall(r"/job:\w+/task:\d+", text.replace("/replica:0", "")))
        return [number for number, (name, _) in enumerate(self.tasks) if name in named]

    def silent(self) -> list[int]:
        """Return the others that do not answer. Takes ANSWERS seconds at most."""
        silent: list[int] = []
        asking = threading.Thread(target=self._find_silent, args=(silent,), daemon=True)
        asking.start()
        asking.join(ANSWERS)  # a host's name may take longer to look up
        return list(silent)

    def awaited(self, silent: Sequence[int]) -> str:
        """Name the workers that this one is waiting for: the silent ones, or all."""
        if silent or len(self.others) == 1:
            return self.names(silent or self.others)
        return f"one of {self.names(self.others)}"

    def _find_silent(self, silent: list[int]) -> None:
        for number in self.others:
            if not answers(self.address(number)):
                silent.append(number)


def split_address(address: str) -> tuple[str, int]:
    """Return the host and the port of an address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def answers(address: str) -> bool:
    """Return whether a worker's server greets a client.

    gRPC's servers do. That of a stopped process accepts the connection, but says nothing.
    """
    with (
        suppress(OSError),
        socket.create_connection(split_address(address), ANSWER) as connection,
    ):
        return bool(connection.recv(1))
    return False
