"""Figures as PNG files, whatever the names in them are."""

import warnings

from wrn3d.system.errors import printable
from wrn3d.system.files import atomic_file

LONGEST_NAME = 24  # characters
MATHLESS = {"parse_math": False}  # keywords of a text: a $ in a name begins no formula


def shown(name) -> str:
    """A name from a file or a folder, as it is drawn."""
    return printable(str(name), LONGEST_NAME)


def add_legend(panel, lines, **options):
    """A legend of {name: line}."""
    # matplotlib leaves out what begins with an underscore.
    names = [f" {name}" if name.startswith("_") else name for name in map(shown, lines)]
    legend = panel.legend(list(lines.values()), names, frameon=False, **options)
    for text in legend.get_texts():
        text.set_parse_math(False)


def save_figure(figure, path):
    """Write a PNG, whole or not at all; raises what `atomic_file` does."""
    with atomic_file(path) as unfinished, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that its font does not have
        figure.savefig(unfinished, dpi=120, format="png")
