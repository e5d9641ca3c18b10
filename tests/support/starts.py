"""Start many command lines in one process, each in a fork whose streams may be closed.

python -m tests.support.starts CASES      # JSON: a list of {"closed": [...], "arguments": [...]}

Prints JSON: a list of [exit status, what it printed]. A fork takes a tenth of the time of a new
process, and Python gives a stream that is closed at its start the value None, as here.
"""

import json
import os
import sys

import wrn3d.compare.comparison
import wrn3d.predict.__main__
import wrn3d.runs.command  # noqa: F401  (imported before the forks: fewer imports in each)
from tests.support.fork_server import run

STREAMS = ("stdin", "stdout", "stderr")


def start(closed, arguments):
    """Run `python *arguments` in a fork without the `closed` descriptors."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        ended = 1
        try:
            for descriptor, name in enumerate(STREAMS):
                if descriptor in closed:
                    os.close(descriptor)
                    setattr(sys, name, None)
                elif descriptor:
                    os.dup2(writer, descriptor)
            os.close(writer)
            run(arguments)
            ended = 0
        except SystemExit as exit:
            ended = exit.code or 0
        except BaseException:
            if sys.stderr:
                sys.excepthook(*sys.exc_info())
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream:
                    stream.flush()
            os._exit(ended if isinstance(ended, int) else 1)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as output:
        text = output.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


if __name__ == "__main__":
    print(json.dumps([start(**case) for case in json.loads(sys.argv[1])]))
