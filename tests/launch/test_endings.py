"""However a run of several workers ends, no process of it is left, and its status says why."""

import os
import select
import signal
import time

import pytest

from tests.support.processes import FROM_ANYWHERE, finished, start_python

# Each worker does what its index says. The first one waits for `go` and then acts.
SCRIPT = """
import json, os, signal, subprocess, sys, time

def be_deaf():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback
names, action = sys.argv[1].split(","), sys.argv[2]
name = names[json.loads(os.environ["TF_CONFIG"])["task"]["index"]]
alive = os.open("alive", os.O_WRONLY)  # closed when this process and its children have ended
if name == "forks" and os.fork() == 0:
    be_deaf()
if name == "starts":
    subprocess.Popen(["sleep", "60"], pass_fds=[alive])
if name == "leaves":
    os.setsid()
if name == "waits":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: (os.write(alive, b"."), os._exit(7)))
if name in ("deaf", "leaves", "prints"):
    be_deaf()
os.write(alive, b".")
if action == "succeed":
    sys.exit()
if name == "acts":
    open("go").close()
    if action.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, action))
    sys.exit(int(action))
if name == "stopped":
    os.kill(os.getpid(), signal.SIGSTOP)
for _ in range(600 if name == "prints" else 1):
    try:
        print("line", flush=True)
    except OSError:
        pass
    time.sleep(0.1 if name == "prints" else 60)
"""
NAMES = ["acts", "waits", "deaf", "forks", "starts", "stopped", "prints"]
if hasattr(os, "pidfd_open"):  # elsewhere such a worker outlives a killed launcher
    NAMES.append("leaves")

KILLED = (
    "error: worker 0 was killed by {}: start all workers again, with --resume if the run has a "
    "folder\n"
)
ENDS = [  # what the first worker does, signals to the launcher; its exit status, its message
    ("succeed", [], 0, ""),
    ("1", [], 1, ""),
    ("2", [], 2, ""),
    ("3", [], 3, ""),
    ("130", [], 130, ""),
    ("143", [], 143, ""),
    ("SIGKILL", [], 3, KILLED.format("SIGKILL")),
    ("SIGTERM", [], 3, KILLED.format("SIGTERM")),
    ("SIGABRT", [], 3, KILLED.format("SIGABRT")),
    ("0", [signal.SIGTERM, signal.SIGTERM], 143, ""),
    ("0", [signal.SIGINT, signal.SIGINT], 130, ""),
    ("0", [signal.SIGKILL], -signal.SIGKILL, ""),
    ("0", [signal.SIGHUP], -signal.SIGHUP, ""),
    ("0", [signal.SIGQUIT], -signal.SIGQUIT, ""),
]
SAMPLE = [ENDS[number] for number in (0, 1, 6, 9, 11)]

# The launcher, with less patience
LAUNCHER = """
import sys
from wrn3d.launch import __main__, processes
processes.GRACE = 0.5
sys.exit(__main__.main())
"""


class Run:
    """A launcher whose workers do what NAMES says."""

    def __init__(self, folder, action):
        folder.mkdir()
        (folder / "train.py").write_text(SCRIPT)
        for name in ("alive", "go"):
            os.mkfifo(folder / name)
        self.folder = folder
        self.alive = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
        self.own_end = os.open(folder / "alive", os.O_WRONLY)
        flags = ["-n", len(NAMES), "train.py", ",".join(NAMES), action]
        self.launcher = start_python(
            "-c", LAUNCHER, *flags, cwd=folder, env=FROM_ANYWHERE, preexec_fn=default_signals
        )

    def wait_for(self, count):
        """Wait for what `count` processes write into `alive`."""
        while count > 0:
            assert select.select([self.alive], [], [], 60)[0]
            count -= len(os.read(self.alive, count))

    def end(self, action, signals):
        self.wait_for(len(NAMES) + 1)  # all workers and the fork are ready
        os.close(self.own_end)
        if not signals and action != "succeed":
            (self.folder / "go").open("w").close()
        for number in signals[:1]:
            self.launcher.send_signal(number)
        for number in signals[1:]:
            self.wait_for(1)  # the worker that waits has received the first signal
            self.launcher.send_signal(number)

    def ends_within(self, seconds):
        """Return whether all processes have ended."""
        deadline = time.monotonic() + seconds
        while select.select([self.alive], [], [], max(0, deadline - time.monotonic()))[0]:
            if not os.read(self.alive, 100):
                os.close(self.alive)
                return True
        return False


def default_signals():
    """Undo what a job in the background inherits from its shell."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no process groups")
@pytest.mark.parametrize("ends", [SAMPLE, pytest.param(ENDS, marks=pytest.mark.slow)])
def test_whatever_ends_a_run_no_process_is_left(tmp_path, ends):
    runs = [Run(tmp_path / str(number), action) for number, (action, *_) in enumerate(ends)]
    try:
        check(runs, ends)
    finally:
        for run in runs:
            run.launcher.kill()  # which ends its workers


def check(runs, ends):
    for run, (action, signals, *_) in zip(runs, ends, strict=True):
        run.end(action, signals)
    deadline = time.monotonic() + 30  # each process lives for 60 by itself
    for run, (action, signals, status, message) in zip(runs, ends, strict=True):
        case = action, signals
        assert run.ends_within(deadline - time.monotonic()), case
        process = finished(run.launcher)
        assert process.returncode == status, case
        assert process.stderr == message, case
