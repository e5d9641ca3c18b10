"""Processes of this Python that have TensorFlow already: importing it takes longer than most of the
tests' command lines do.

They are forked from one that has imported it and done nothing else, as those of multiprocessing's
fork server are, and become children of the tests' process, which waits for them, signals and kills
them like any other.
"""

import ctypes
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("keras", "matplotlib.pyplot", "sklearn.datasets", "tyro")  # start no threads either
SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER: orphans become children of who has set it


class ForkedProcess(subprocess.Popen):
    """Popen([script, *flags]) or Popen(["-m", module, *flags]), which may be given `cwd`, `env`,
    `start_new_session` and the three streams."""

    def _execute_child(
        self,
        args,
        executable,
        preexec_fn,
        close_fds,
        pass_fds,
        cwd,
        env,
        startupinfo,
        creationflags,
        shell,
        p2cread,
        p2cwrite,
        c2pread,
        c2pwrite,
        errread,
        errwrite,
        restore_signals,
        gid,
        gids,
        uid,
        umask,
        start_new_session,
        process_group,
    ):
        request = {
            "arguments": args,
            "cwd": str(cwd),
            "parent": os.getpid(),
            "environment": dict(os.environ if env is None else env),
            "new_session": start_new_session,
        }
        streams = [
            given if given != -1 else own for own, given in enumerate((p2cread, c2pwrite, errwrite))
        ]
        server, prctl = _server(), ctypes.CDLL(None).prctl
        prctl(SUBREAPER, 1)
        try:
            socket.send_fds(server, [json.dumps(request).encode()], streams)
            self.pid = int(server.recv(100))
        finally:
            prctl(SUBREAPER, 0)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


@functools.cache
def _server():
    """The connection to the process that is forked, which ends with it."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore:This process:DeprecationWarning",
                "-m",
                "tests.support.fork_server",
                str(there.fileno()),
            ],
            pass_fds=[there.fileno()],
            cwd=ROOT,
        )
    return here


def serve(connection):
    """Fork a process for each request; returns, in that process, what it is to run."""
    while message := (received := socket.recv_fds(connection, 2**20, 3))[0]:
        request, streams = json.loads(message), received[1]
        between = os.fork()  # which ends at once: its child then becomes one of the tests' process
        if not between:
            if os.fork():
                os._exit(0)
            while os.getppid() != request["parent"]:
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
    """What a process starts with, where Python has started it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin, sys.stdout = (os.fdopen(own, mode, closefd=False) for own, mode in enumerate("rw"))
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def run(arguments):
    """Do what `python *arguments` does."""
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
    gc.freeze()  # what is there need not be copied for the garbage collector's marks
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    begin(asked["cwd"], asked["environment"])
    run(asked["arguments"])
