"""Fork processes with TensorFlow imported: the import takes longer than most tests.

As with multiprocessing's fork server, a server process has imported TensorFlow and done nothing
else. Its forks become children of the tests' process, which waits for them, signals and kills them
like any other child.
"""

import ctypes
import functools
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("keras", "matplotlib.pyplot", "sklearn.datasets", "tyro")  # none starts a thread
SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER: adopt orphaned descendants


class ForkedProcess(subprocess.Popen):
    """A forked process with Popen's interface: [script, *flags] or ["-m", module, *flags].

    It takes `cwd`, `env`, `start_new_session` and the three streams.
    """

    def _execute_child(self, *arguments):
        # Popen's own method starts the process; Popen passes these by position.
        names = inspect.signature(subprocess.Popen._execute_child).parameters
        given = dict(zip(names, (self, *arguments), strict=True))
        request = {
            "arguments": given["args"],
            "cwd": str(given["cwd"]),
            "parent": os.getpid(),
            "environment": dict(os.environ if given["env"] is None else given["env"]),
            "new_session": given["start_new_session"],
        }
        pipes = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [pipe if pipe != -1 else own for own, pipe in enumerate(pipes)]
        server, prctl = _server(), ctypes.CDLL(None).prctl
        prctl(SUBREAPER, 1)
        try:
            socket.send_fds(server, [json.dumps(request).encode()], streams)
            self.pid = int(server.recv(100))
        finally:
            prctl(SUBREAPER, 0)
        self._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in ends))


@functools.cache
def _server():
    """Start the server and return the connection to it. Closing it ends the server."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        quiet = ["-W", "ignore:This process:DeprecationWarning"]  # about forks and threads
        subprocess.Popen(
            [sys.executable, *quiet, "-m", "tests.support.fork_server", str(there.fileno())],
            pass_fds=[there.fileno()],
            cwd=ROOT,
        )
    return here


def serve(connection):
    """Fork a process for each request, and return the request in that process."""
    while message := (received := socket.recv_fds(connection, 2**20, 3))[0]:
        request, streams = json.loads(message), received[1]
        between = os.fork()  # ends at once and makes its child an orphan
        if not between:
            if os.fork():
                os._exit(0)
            while os.getppid() != request["parent"]:  # until the tests' process has adopted it
                pass
            for own, given in enumerate(streams):
                os.dup2(given, own)
                os.close(given)
            if request["new_session"]:
                os.setsid()
            connection.send(str(os.getpid()).encode())
            connection.close()
            return request
        os.waitpid(between, 0)
        for given in streams:
            os.close(given)
    sys.exit()


def begin(cwd, environment):
    """Set up a forked process as Python sets up a new one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin, sys.stdout = (os.fdopen(own, mode, closefd=False) for own, mode in enumerate("rw"))
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def run(arguments):
    """Run a script or a module as `python` does with these arguments."""
    module = arguments[0] == "-m"
    sys.argv = arguments[module:]
    first = os.getcwd() if module else os.path.dirname(os.path.abspath(arguments[0]))
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [first, *filter(None, named)]
    if module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    from wrn3d.system import tensorflow_setup

    tensorflow_setup.import_tensorflow()
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # garbage collection in the forks then writes to, and copies, less memory
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    begin(request["cwd"], request["environment"])
    run(request["arguments"])
