"""Print progress and messages: a live bar on a terminal, plain lines elsewhere."""

import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import IO, Any, Self

from wrn3d.system.errors import Stopped


class Progress:
    """A context that shows a progress bar on a terminal, and nothing elsewhere.

    `total` counts the units of work, `completed` those that are already done.
    """

    def __init__(self, total: int, title: str, completed: int = 0) -> None:
        self.total, self.title, self.completed = total, title, completed
        self.bar: Any = None

    def __enter__(self) -> Self:
        if on_terminal():
            from rich import progress  # slow to import

            self.bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=8),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"),
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(
                self.title, total=self.total, note="", completed=self.completed
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, completed: int, note: str = "") -> None:
        """Set how many units are done."""
        if self.bar:
            self.bar.update(self.task, completed=completed, note=note)

    def advance(self, note: str = "") -> None:
        """Count one more unit as done."""
        if self.bar:
            self.bar.update(self.task, advance=1, note=note)

    def track(self, starts: Iterable[int]) -> Iterator[int]:
        """Yield each batch's first row, and set it as the number of rows that are done."""
        for start in starts:
            self.update(start)
            yield start

    def print(self, line: str) -> None:
        """Print a line that stays, above the bar if one is shown."""
        if self.bar:
            self.bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)


def on_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return bool(sys.stdout and sys.stdout.isatty())


def open_missing_streams() -> None:
    """Connect standard streams that the caller closed to the null device.

    Otherwise the next files to be opened get their descriptors, 0 to 2, and with them what
    libraries print.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
        if getattr(sys, name) is None:
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (for the whole process)


def fitted(line: str, indent: int = 10) -> str:
    """Wrap a line that is wider than the terminal, and indent its continuation."""
    if not on_terminal():
        return line
    return textwrap.fill(
        line,
        shutil.get_terminal_size().columns,
        drop_whitespace=True,
        subsequent_indent=" " * indent,
        break_long_words=False,
    )


def show_warnings_as_notes() -> None:
    """Show warnings in this process as "note: ...", without the line of code that warns.

    Hide warnings about the source of other packages, which Python shows when it compiles them.
    """
    warnings.simplefilter("ignore", SyntaxWarning)
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"


def escape_unencodable_names() -> None:
    """Escape characters that the encoding of standard output or error lacks, in this process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def native_messages_to(file: IO[bytes]) -> Iterator[int]:
    """Send to `file` what libraries write to file descriptor 2, past Python's `sys.stderr`.

    Yields a descriptor of the old destination.
    """
    stderr = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield stderr
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


@contextmanager
def without_native_messages() -> Iterator[None]:
    """Suppress what libraries write to file descriptor 2."""
    open_missing_streams()
    with open(os.devnull, "wb") as nowhere, native_messages_to(nowhere):
        yield


@contextmanager
def in_silence() -> Iterator[None]:
    """Suppress output, warnings and the message of a stop in the context, but not errors.

    All workers but the first run in it, so that each message appears once.
    """
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Stopped as stopped:
            stopped.args = ("",)
            raise
