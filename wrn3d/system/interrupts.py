"""End a change before an interrupt gets out, so that no change is left half made.

Python runs signal handlers, such as Ctrl-C's, between any two steps of the main thread, and an
exception that another thread raises in this one arrives there as well.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NUMBERS = sorted(map(int, signal.valid_signals()))
# The C function: making enums of 64 signals' handlers would take 0.1 ms of each iteration.
_getsignal: Callable[[int], Any] = getattr(signal, "_signal", signal).getsignal


class _HeldSignals:
    """Stands in for Python's signal handlers; notes each signal, or passes it on once released."""

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {
            number: handler for number in _NUMBERS if callable(handler := _getsignal(number))
        }
        self.noted: list[tuple[int, FrameType | None]] = []
        self.released = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.released:
            self.handlers[number](number, frame)
        else:
            self.noted.append((number, frame))

    def hold(self) -> None:
        for number in self.handlers:
            signal.signal(number, self)

    def release(self) -> None:
        try:
            for number, handler in self.handlers.items():
                if _getsignal(number) is self:  # nobody has set another since
                    signal.signal(number, handler)
            self.released = True
        finally:
            if not self.released:  # a handler that is back already has raised
                self.release()

    def deliver(self) -> None:
        if self.noted:
            number, frame = self.noted.pop(0)  # a second Ctrl-C counts, too
            try:
                self.handlers[number](number, frame)
            finally:
                self.deliver()


_held: list[_HeldSignals] = []  # the outermost context's, in the main thread


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Python's signal handlers back until the context, or the decorated function, ends.

    In other threads than the main one, where no handlers run, and inside another such context it
    does nothing.
    """
    if _held or threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = _HeldSignals()
    try:
        _held.append(signals)
        signals.hold()
        yield
    finally:
        try:
            _held.clear()
            signals.release()
        finally:
            signals.release()  # in case that another thread's exception cut the first one short
            signals.deliver()


def complete(change: Callable[[], object]) -> None:
    """Call `change` uninterrupted, and once more if an exception gets into it all the same.

    A second call must end what the first has begun. Another thread can raise an exception in this
    one (PyThreadState_SetAsyncExc), and a signal can arrive while `uninterrupted` is entered.
    """
    is_complete = False

    def call() -> None:
        nonlocal is_complete
        change()
        is_complete = True

    try:
        with uninterrupted():
            call()
    finally:
        if not is_complete:
            with uninterrupted():
                call()
