"""What the tools share that write a folder of results: the folder, its errors, tables as text."""

import time
from contextlib import contextmanager

from wrn3d.system.errors import UserError, reason


@contextmanager
def new_folder(output, kind):
    """A context with the new folder `output`/`kind`-<time>, which goes again where nothing is
    written into it; raises UserError where it cannot be made."""
    with writing_to(output):
        while True:
            folder = output / time.strftime(f"{kind}-%Y%m%d-%H%M%S")
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:  # another run's, of the same second
                time.sleep(0.1)
    try:
        yield folder
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def writing_to(folder):
    """Raises UserError where what is done within cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({reason(error)}): name another folder with --output"
        ) from error


def markdown_table(titles, rows) -> str:
    """Rows of strings as a Markdown table whose columns line up in plain text, too."""
    rows = [[cell.replace("|", "/") for cell in row] for row in rows]  # which ends a cell
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]

    def line(cells):
        first, *others = (
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join([first, *others])} |"

    rule = "|".join(
        "-" * (width + 1) + ("-" if number == 0 else ":") for number, width in enumerate(widths)
    )
    return "\n".join([line(titles), f"|{rule}|", *map(line, rows)])
