"""Note Ctrl-C and SIGTERM, so that the work can stop after the current iteration."""

import signal
from types import FrameType
from typing import Self

NAMES: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def signal_name(number: int) -> str:
    """Return a signal's name, such as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


_active: list["StopRequest"] = []


def stop_requested() -> int | None:
    """Return the number of the signal that an active StopRequest has noted."""
    return next((request.number for request in _active if request.number), None)


class StopRequest:
    """A context that notes the first Ctrl-C or SIGTERM in `number`.

    A second signal raises KeyboardInterrupt at once. A signal that was ignored before, as in a
    background job, stays ignored.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __enter__(self) -> Self:
        self.earlier = {number: signal.getsignal(number) for number in NAMES}
        for number, handler in self.earlier.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._note)
        _active.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _active.remove(self)
        for number, handler in self.earlier.items():
            signal.signal(number, handler)

    @property
    def name(self) -> str:
        """Name of the noted signal for messages."""
        return NAMES[self.number]  # type: ignore[index]

    def _note(self, number: int, frame: FrameType | None) -> None:
        earlier, self.number = self.number, number
        if earlier is not None:
            raise KeyboardInterrupt
