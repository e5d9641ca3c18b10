"""Make names safe to draw, and save figures."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wrn3d.system.checks import require
from wrn3d.system.errors import printable
from wrn3d.system.files import atomic_file
from wrn3d.system.plotting import import_matplotlib

FORMATS = ("png", "pdf", "svg", "eps", "jpg", "jpeg", "tif", "tiff", "webp")
LONGEST_NAME = 24  # characters
MATHLESS: dict[str, Any] = {"parse_math": False}  # for text: a $ in a name must not start a formula


def new_figure(**options: Any) -> Any:
    """Return an empty figure with matplotlib's options for one."""
    import_matplotlib()
    from matplotlib.figure import Figure

    return Figure(**options)


def drawable(name: object) -> str:
    """Shorten the name of a class or folder, and replace unprintable characters."""
    return printable(str(name), LONGEST_NAME)


def run_name(folder: str | Path) -> str:
    """Return a run's name in a picture: its folder's."""
    return drawable(Path(folder).resolve().name or folder)


def add_legend(panel: Any, lines: Mapping[str, Any], **options: Any) -> None:
    """Add a legend of {name: line}; the names are `drawable`."""
    # matplotlib omits names that begin with an underscore.
    names = [f" {name}" if name.startswith("_") else name for name in lines]
    legend = panel.legend(list(lines.values()), names, frameon=False, **options)
    for text in legend.get_texts():
        text.set_parse_math(False)


def figure_format(path: str | Path) -> str:
    """Return the format that a file's name ends in, or png without an ending.

    Raises UsageError for a format that is not in FORMATS.
    """
    ending = Path(path).suffix.lower().removeprefix(".") or FORMATS[0]
    require(
        ending in FORMATS,
        f"{path} ends in .{ending}, but a picture must end in one of "
        f"{', '.join(f'.{one}' for one in FORMATS)}",
    )
    return ending


def save_figure(figure: Any, path: str | Path) -> None:
    """Write a figure in its `figure_format` as `atomic_file` does, and raise what they raise."""
    ending = figure_format(path)
    with atomic_file(path) as unfinished, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the font may lack some letters
        figure.savefig(unfinished, dpi=120, format=ending)
