"""Start processes that measure and print their results as lines of JSON."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wrn3d.system.errors import UserError
from wrn3d.system.interrupts import uninterrupted

ROOT = Path(__file__).resolve().parents[1]  # holds the project's modules


@contextmanager
def started(title: str, command: Sequence[str], **variables: str) -> Iterator[Iterator[dict]]:
    """Start a command with additional environment variables; yield an iterator of its results.

    The iterator raises UserError if the process ends before it has printed another result; the
    message calls the process `title`. The process ends with the context.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryFile("w+", errors="replace") as errors, ExitStack() as stack:
        with uninterrupted():  # Ctrl-C between start and `with` would leave the process behind
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=os.environ | {"PYTHONPATH": path} | variables,
                )
            )
            stack.callback(process.terminate)
        yield _results(title, process, errors)


def _results(title, process, errors):
    for line in process.stdout:
        text = line.removeprefix("[0] ")  # the launcher's mark of the first worker
        if text.startswith("{"):
            yield json.loads(text)
    status = process.wait()
    errors.seek(0)
    reason = (errors.read().strip().splitlines() or ["it gave no reason"])[-1]
    if status < 0:
        reason = f"ended by {signal.Signals(-status).name}"
        reason += ", out of memory?" if status == -signal.SIGKILL else ""
    raise UserError(f"{title} failed: {reason}")
