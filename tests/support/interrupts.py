"""Interrupt calls at a chosen moment: by a real signal, or by an exception from another thread."""

import ctypes
import signal
import threading
import time


class Interrupt(BaseException):
    """Raised in the main thread, as Ctrl-C raises KeyboardInterrupt."""


def _interrupt(number, frame):
    raise Interrupt


class SignalTimer:
    """A timer whose signal's handler raises Interrupt."""

    def start(self, seconds):
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def stop(self):
        signal.setitimer(signal.ITIMER_REAL, 0)


class ThreadTimer:
    """Another thread that raises Interrupt in this one."""

    timer = None

    def start(self, seconds):
        here = ctypes.c_ulong(threading.get_ident())
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        self.timer = threading.Timer(seconds, lambda: raise_in(here, ctypes.py_object(Interrupt)))
        self.timer.start()

    def stop(self):
        if self.timer:
            self.timer.cancel()
            self.timer.join()


TIMERS = {"signal": SignalTimer, "thread": ThreadTimer}


def interrupt(source, seconds, call):
    """Make a call and raise Interrupt in it after `seconds`, unless it has ended before."""
    timer = TIMERS[source]()
    try:
        try:
            timer.start(seconds)
            call()
        finally:
            timer.stop()
        time.sleep(0)  # an exception from another thread arrives after a few steps
    except Interrupt:
        pass


def moments(call, count):
    """Return `count` moments, in seconds, spread evenly over a call and a little beyond."""
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return [max(1e-6, 1.1 * min(durations) * place / count) for place in range(count)]
