"""How far long work has come: a live bar on a terminal, plain lines elsewhere."""
import shutil
import textwrap

from wrn3d.runtime import on_terminal


class Progress:
    """A context in which `total` units of work are done, `completed` of them before; the bar shows
    only on a terminal."""

    def __init__(self, total, title, completed=0):
        self.total, self.title, self.completed, self.bar = total, title, completed, None

    def __enter__(self):
        if on_terminal():
            from rich import progress  # only where it shows

            self.bar = progress.Progress(
                progress.TextColumn("{task.description}"), progress.BarColumn(bar_width=8),
                progress.MofNCompleteColumn(), progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"), transient=True)
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=self.total, note="",
                                          completed=self.completed)
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
    return textwrap.fill(line, shutil.get_terminal_size().columns, drop_whitespace=True,
                         subsequent_indent=" " * indent, break_long_words=False)
