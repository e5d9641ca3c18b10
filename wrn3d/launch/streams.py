"""Copy what a worker prints, line by line."""

import os
import threading
from contextlib import suppress
from typing import IO


class CopiedStream(threading.Thread):
    """A thread that copies whole lines to `target`, so that those of several workers do not mix.

    The worker writes into the file descriptor `end`. Closing the other end when `target` cannot be
    written tells the worker that nobody reads it.
    """

    def __init__(self, target: IO[str], prefix: str) -> None:
        super().__init__(daemon=True)  # if the worker cannot be started, nothing ends the copy
        source, self.end = os.pipe()
        self.source = open(source, errors="backslashreplace")  # noqa: SIM115 - closed by `run`
        self.target, self.prefix = target, prefix
        self.last = os.urandom(16).hex()  # the launcher's own line, which ends the copy
        self.start()

    def run(self) -> None:
        with self.source, suppress(OSError):
            for line in self.source:
                text, last, _ = line.rstrip("\n").partition(self.last)
                if text or not last:
                    self.target.write(f"{self.prefix}{text}\n")
                    self.target.flush()
                if last:
                    return

    def finish(self) -> None:
        """Copy all that has been written so far.

        Does not wait for the end of the stream, which a process that outlives the worker may hold
        open.
        """
        with suppress(OSError), open(self.end, "w") as end:
            end.write(f"{self.last}\n")
        self.join()
