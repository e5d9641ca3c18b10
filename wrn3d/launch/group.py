"""The process group of all workers, which ends when the launcher does."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Self

from wrn3d.launch import watchdog

# A worker that asks for the terminal, which only the foreground group has, gets an error; by
# default it would be stopped for ever.
TERMINAL_SIGNALS = ("SIGTTIN", "SIGTTOU")


class ProcessGroup:
    """A context; leaving it kills what is left of the group. On Windows, it does nothing.

    The group contains the workers and what they start, unless that begins a session of its own. A
    watchdog process leads it and ends it when the launcher is killed.
    """

    def __init__(self) -> None:
        self.watchdog: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        if os.name == "posix":
            self.earlier = {
                number: signal.signal(number, signal.SIG_IGN)  # the workers inherit it
                for number in (getattr(signal, name) for name in TERMINAL_SIGNALS)
            }
            self.watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                process_group=0,
            )
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        if self.watchdog:
            self.watchdog.communicate()
            for number, handler in self.earlier.items():
                signal.signal(number, handler)

    @property
    def number(self) -> int | None:
        """Number of the group, for Popen's `process_group`."""
        return self.watchdog.pid if self.watchdog else None

    def watch(self, worker: int) -> None:
        """Tell the watchdog the process id of a worker, which may leave the group."""
        if self.watchdog and self.watchdog.stdin:
            with suppress(OSError):  # it may have been killed
                self.watchdog.stdin.write(f"{worker}\n")
                self.watchdog.stdin.flush()

    def kill(self) -> None:
        """Kill all processes of the group."""
        if self.watchdog:
            with suppress(OSError):  # it has none any more
                os.killpg(self.watchdog.pid, signal.SIGKILL)
