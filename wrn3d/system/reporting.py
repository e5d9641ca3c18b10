"""Write a command's results: a new folder for them, and tables as Markdown."""

import csv
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from pathlib import Path

from wrn3d.system.files import file_errors, write_atomic


@contextmanager
def new_folder(output: Path, kind: str) -> Iterator[Path]:
    """Create the folder `output`/`kind`-<time>, and remove it at the end if it is still empty.

    Raises UserError if it cannot be created.
    """
    with writing_to(output):
        while True:
            folder = output / time.strftime(f"{kind}-%Y%m%d-%H%M%S")
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:  # another run started in the same second
                time.sleep(0.1)
    try:
        yield folder
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def writing_to(folder: Path) -> AbstractContextManager[None]:
    """Turn an OSError raised in the context into a UserError that names `folder`."""
    return file_errors(folder, advice="name another folder with --output")


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of strings: first column left-aligned, the others right-aligned."""
    rows = [[cell.replace("|", "/") for cell in row] for row in rows]  # "|" would end a cell
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        _, *others = map(str.rjust, cells, widths)
        return f"| {' | '.join([cells[0].ljust(widths[0]), *others])} |"

    first, *others = ("-" * (width + 1) for width in widths)
    rule = "|".join([f"{first}-", *(f"{dashes}:" for dashes in others)])
    return "\n".join([line(titles), f"|{rule}|", *map(line, rows)])


def write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as a .csv file in UTF-8; raises what `atomic_file` raises."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
