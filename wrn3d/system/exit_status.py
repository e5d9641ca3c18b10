"""Run a command's work and turn errors into one sentence and an exit status."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from wrn3d.system import terminal
from wrn3d.system.errors import Stopped, UserError, reason, visible

CLOSED_PIPE = 128 + 13  # SIGPIPE, which Windows does not name


def exit_status(work: Callable[..., int | None], *arguments: Any) -> int:
    """Do the work of a command and return its exit status; print one sentence for a user's error.

    The status is 1 for bad data or files, too little memory or a diverged loss, 2 for invalid
    settings, 3 for a lost worker, 130 for Ctrl-C, 143 for SIGTERM, and 141 if the reader of the
    output was closed. Otherwise it is the status that `work` returns or exits with, as --help and
    wrong flags do, or 0.
    """
    terminal.open_missing_streams()
    terminal.show_warnings_as_notes()
    terminal.escape_unencodable_names()
    try:
        try:
            status = work(*arguments)
        except SystemExit as ended:
            if isinstance(ended.code, str):
                raise UserError(ended.code) from ended
            status = ended.code
        sys.stdout.flush()  # a failure here can still be reported
    except UserError as error:
        _tell(f"error: {visible(str(error))}")
        return error.exit_status
    except Stopped as stopped:
        if str(stopped):
            _tell(str(stopped))
        return stopped.exit_status
    except KeyboardInterrupt:
        _tell("stopped by Ctrl-C")
        return 128 + signal.SIGINT
    except OSError as error:
        if not _output_fails():
            raise
        if isinstance(error, BrokenPipeError):  # a reader such as `head` has read enough
            return CLOSED_PIPE
        _tell(f"error: the output cannot be written ({reason(error)})")
        return 1
    return status or 0


def _tell(message: str) -> None:
    with suppress(OSError):  # standard error may be full, too
        print(message, file=sys.stderr)


def _output_fails() -> bool:
    """Return whether standard output cannot be written; if so, redirect it to the null device."""
    try:
        print(flush=True)  # the failed write emptied the buffer: flushing alone would not fail
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
