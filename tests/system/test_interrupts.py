"""Signals that arrive during a change."""

import signal
import threading

import pytest

from wrn3d.system.interrupts import complete, uninterrupted

FIRST, SECOND = signal.SIGUSR1, signal.SIGUSR2


class Arrived(Exception):
    pass


@pytest.fixture(autouse=True)
def handlers():
    """Let both signals note their arrival, and the second raise; return the list of notes."""
    notes = []

    def note(number, frame):
        notes.append(number)
        if number == SECOND:
            raise Arrived

    earlier = {number: signal.signal(number, note) for number in (FIRST, SECOND)}
    yield notes
    for number, handler in earlier.items():
        signal.signal(number, handler)


def test_handlers_run_when_the_outermost_change_has_ended(handlers):
    before = [signal.getsignal(number) for number in (FIRST, SECOND)]
    done = []
    with pytest.raises(Arrived), uninterrupted():
        with uninterrupted():
            signal.raise_signal(SECOND)
            signal.raise_signal(FIRST)
            done.append("inner")
        done.append(list(handlers))
    assert done == ["inner", []] and sorted(handlers) == [FIRST, SECOND]
    assert [signal.getsignal(number) for number in (FIRST, SECOND)] == before
    with pytest.raises(Arrived):
        signal.raise_signal(SECOND)


def test_an_error_of_the_change_does_not_lose_the_signal(handlers):
    with pytest.raises(KeyError), uninterrupted():
        signal.raise_signal(FIRST)
        raise KeyError
    assert handlers == [FIRST]


def test_a_signal_while_handlers_are_put_back_stops_neither_them_nor_other_signals(
    handlers, monkeypatch
):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, FIRST, SECOND)}
    put = signal.signal

    def put_and_arrive(number, handler):
        put(number, handler)
        if number == signal.SIGINT and handler is before[number]:
            signal.raise_signal(number)

    monkeypatch.setattr(signal, "signal", put_and_arrive)
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(FIRST)
    assert handlers == [FIRST]
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_handler_that_the_change_sets_stays():
    with uninterrupted():
        signal.signal(FIRST, signal.SIG_IGN)
    assert signal.getsignal(FIRST) == signal.SIG_IGN


def test_other_threads_change_no_handlers():
    found = []

    def work():
        with uninterrupted():
            found.append(signal.getsignal(FIRST))

    before = signal.getsignal(FIRST)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


def test_a_change_is_completed_after_an_exception_from_outside():
    calls = []

    def change():
        calls.append(len(calls))
        if len(calls) == 1:
            raise Arrived  # as another thread would

    with pytest.raises(Arrived):
        complete(change)
    assert calls == [0, 1]


def test_a_change_is_not_repeated_for_a_signal():
    calls = []
    with pytest.raises(Arrived):
        complete(lambda: (calls.append(0), signal.raise_signal(SECOND)))
    assert calls == [0]
