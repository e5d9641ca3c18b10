"""How a command ends: its exit status, and one sentence for what a user can get wrong."""

import os
import signal
import sys

from wrn3d.system import terminal
from wrn3d.system.errors import Stopped, UserError, reason, visible


def exit_status(work, *arguments) -> int:
    """Do the work of a command; what a user can get wrong ends it with one sentence.

    0: done. 1: data, memory or files that do not serve, or a run that diverged. 2: settings that
    cannot be. 3: another worker is gone. 130: Ctrl-C. 143: SIGTERM. 141: nobody reads the output
    any more.
    """
    terminal.show_warnings_as_notes()
    terminal.print_any_name()
    try:
        work(*arguments)
        if sys.stdout:  # there is none where it was closed
            sys.stdout.flush()  # where it fails, that can be said here
    except UserError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return error.exit_status
    except Stopped as stopped:
        if str(stopped):
            print(stopped, file=sys.stderr)
        return stopped.exit_status
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 128 + signal.SIGINT
    except OSError as error:
        if not _output_fails():
            raise
        if isinstance(error, BrokenPipeError):  # its reader, such as `head`, has read enough
            return 128 + 13  # SIGPIPE, which Windows does not name
        print(f"error: the output cannot be written ({reason(error)})", file=sys.stderr)
        return 1
    return 0


def _output_fails():
    """Whether standard output can't be written; if so, nothing tries to any more."""
    try:
        print(flush=True)  # an empty flush says nothing: what has failed once is not tried again
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
