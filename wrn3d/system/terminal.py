"""How far long work has come: a live bar on a terminal, plain lines elsewhere."""

import os
import shutil
import sys
import textwrap
import warnings
from contextlib import contextmanager, redirect_stdout

from wrn3d.system.errors import Stopped


class Progress:
    """A context in which `total` units of work are done, `completed` of them before; the bar shows
    only on a terminal."""

    def __init__(self, total, title, completed=0):
        self.total, self.title, self.completed, self.bar = total, title, completed, None

    def __enter__(self):
        if on_terminal():
            from rich import progress  # only where it shows

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

    def __exit__(self, *exception):
        if self.bar:
            self.bar.stop()

    def update(self, completed, note=""):
        """Report how many units are done."""
        if self.bar:
            self.bar.update(self.task, completed=completed, note=note)

    def advance(self, note=""):
        """Report one more as done."""
        if self.bar:
            self.bar.update(self.task, advance=1, note=note)

    def print(self, line):
        """Print a line that stays, above the bar if there is one."""
        if self.bar:
            self.bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)

    def track(self, batches):
        """Iterate over `batches`, the places where each starts, and report what is done."""
        for start in batches:
            self.update(start)
            yield start


def fitted(line, indent=10):
    """The line, broken between words where it is wider than the terminal that it goes to."""
    if not on_terminal():
        return line
    return textwrap.fill(
        line,
        shutil.get_terminal_size().columns,
        drop_whitespace=True,
        subsequent_indent=" " * indent,
        break_long_words=False,
    )


def show_warnings_as_notes():
    """In this process: "note: ..." alone, without the line of code that warns."""
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"


@contextmanager
def in_silence():
    """A context in which nothing is printed, as by all workers but the first: its end, where it is
    told to stop, is said by that one, too. Errors are not held back."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Stopped as stopped:
            stopped.args = ("",)
            raise


def print_any_name():
    """In this process: a name that the output cannot encode is printed escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def on_terminal() -> bool:
    """Whether somebody watches what is printed; a job may have no standard output at all."""
    return bool(sys.stdout and sys.stdout.isatty())
