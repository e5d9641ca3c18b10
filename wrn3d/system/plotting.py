"""Import matplotlib whatever backend the environment names."""

import os
import sys
import tempfile
from contextlib import suppress

from wrn3d.system.errors import UserError


def import_matplotlib() -> None:
    """Import matplotlib; ignore a backend in MPLBACKEND that it does not know.

    A notebook sets this variable for all programs that it starts, and an unknown backend would end
    the import. Raises UserError if no folder for temporary files can be written.
    """
    check_temporary_folder()
    backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend  # as the import does
            os.environ["MPLBACKEND"] = backend


def check_temporary_folder() -> None:
    """Raise UserError if no folder for temporary files can be written."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise UserError(
            "no folder for temporary files can be written: set the environment variable TMPDIR to "
            "one that can"
        ) from error
