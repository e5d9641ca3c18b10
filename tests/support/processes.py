"""Start real command lines as processes."""

import os
import signal
import subprocess
import sys

from tests.support.environments import SCRIPTS
from tests.support.fork_server import ROOT, ForkedProcess

FROM_ANYWHERE = os.environ | {"PYTHONPATH": str(ROOT)}  # finds the project's modules
PIPED = {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def start_python(*arguments, **options):
    """Start a process of this Python that obeys Ctrl-C, which background jobs ignore."""
    obeying = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.Popen([sys.executable, *map(str, arguments)], **PIPED | obeying | options)


def start_command(*arguments, **options):
    """Start a command line of the project, (script, *flags) or ("-m", module, *flags).

    On Linux it is a fork of a process that has imported TensorFlow.
    """
    if sys.platform != "linux":
        return start_python(*arguments, **options)
    return ForkedProcess([*map(str, arguments)], **PIPED | options)


def run_python(*arguments, **options):
    """Run a process of this Python in the project's folder to its end."""
    return finished(start_python(*arguments, **options))


def run_command(*arguments, **options):
    """Run a command line of the project to its end."""
    return finished(start_command(*arguments, **options))


def finished(process):
    """Return a process's exit status and output; kill it after five minutes."""
    with process:
        try:
            output, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start_script(front_end, *arguments, **options):
    return start_command(f"{SCRIPTS[front_end]}.py", *arguments, **options)


def run_script(front_end, *arguments, **options):
    return run_command(f"{SCRIPTS[front_end]}.py", *arguments, **options)
