"""The launcher's command line, with a small script in place of a training."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.support.processes import FROM_ANYWHERE, finished, run_python, start_python
from wrn3d.launch import group, processes
from wrn3d.launch.group import ProcessGroup
from wrn3d.system.errors import WorkerError

# The worker whose index is the first flag acts; the others wait for ever.
SCRIPT = """
import json, os, signal, subprocess, sys, time

index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
chosen, action = sys.argv[1:3]
print("flags", *sys.argv[1:], flush=True)
if action == "done" or os.path.exists("lost"):
    print("done", os.environ["TF_CONFIG"].count("127.0.0.1:"), flush=True)
elif index != int(chosen):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    open("waiting", "w").close()
    time.sleep(60)
elif action == "fail":
    while not os.path.exists("waiting"):
        time.sleep(0.01)
    sys.exit("failed")
elif action == "lost":
    open("lost", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
elif action == "leave":
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    print("left", child.pid, end="")
elif action == "wait":
    print("ready", flush=True)
    time.sleep(60)
elif action == "print":
    from wrn3d.system.exit_status import exit_status

    def print_for_ever():
        while True:
            print("line", flush=True)

    sys.exit(exit_status(print_for_ever))
"""


@pytest.fixture
def folder(tmp_path):
    """Return a working directory with a module train.py, and one in a package."""
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "package" / "run.py").write_text(SCRIPT)
    return tmp_path


def start(folder, *arguments, **options):
    return start_python("-m", "wrn3d.launch", *arguments, cwd=folder, env=FROM_ANYWHERE, **options)


@pytest.mark.parametrize(
    "arguments, workers",
    [
        (["train"], 2),
        (["train.py"], 2),
        (["-n", "3", "train"], 3),
        (["--workers=1", "--restarts", "0", "train.py"], 1),
    ],
)
def test_a_module_or_a_file_is_run_with_its_own_flags(folder, arguments, workers):
    flags = "0 done -n 7 --workers=8 --help x.py"
    process = finished(start(folder, *arguments, *flags.split()))
    assert (process.returncode, process.stderr) == (0, "")
    assert sorted(process.stdout.splitlines()) == sorted(
        line
        for index in range(workers)
        for line in (f"[{index}] flags {flags}", f"[{index}] done {workers}")
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "there is nothing to start: name a script"),
        (["nowhere.py", "x.py"], "nowhere.py is neither a file nor a module"),
        (["package.nowhere", "x.py"], "package.nowhere is neither a file nor a module"),
        (["package"], "package is neither a file nor a module that Python can run"),
        (["..train"], "..train is neither a file nor a module"),
        (["-n", "0", "train"], "workers is 0, but must be a whole number from 1 up"),
        (["--restarts", "-1", "train"], "restarts is -1"),
        (["--restarts=1", "train"], "add --output to the script's flags"),
        (["--restarts=1", "train", "--output"], "add --output to the script's flags"),
    ],
)
def test_what_cannot_be_launched_is_one_sentence(folder, arguments, message):
    process = finished(start(folder, *arguments))
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1
    assert message in process.stderr


def test_a_module_in_a_package_is_found_without_importing_the_package(folder):
    process = finished(start(folder, "-n", "1", "package.run"))
    assert (process.returncode, process.stderr) == (1, "[0] imported\n")  # by the worker


def test_when_a_worker_fails_the_others_are_ended(folder):
    process = finished(start(folder, "train", "1", "fail"))
    assert process.returncode == 1
    assert sorted(process.stderr.splitlines()) == ["[0] ended", "[1] failed"]


def test_lost_workers_are_restarted(folder):
    command = ["train", "1", "lost", "--output", "run"]
    process = finished(start(folder, *command))
    (folder / "lost").unlink()
    assert process.returncode == WorkerError.exit_status
    assert process.stderr.splitlines()[-1] == (
        "error: worker 1 was killed by SIGKILL: start all workers again, with --resume if the run "
        "has a folder"
    )
    (folder / "run").mkdir()
    process = finished(start(folder, "--restarts", "1", *command))
    assert process.returncode == 0, process.stderr
    assert (
        "restarted 2 workers from the last checkpoint, since worker 1 was killed by SIGKILL; 0 "
        "more times at most\n" in process.stdout
    )
    assert "[1] flags 1 lost --output run --resume" in process.stdout


@pytest.mark.parametrize("output", ["--output=run", "--output other --output run"])
def test_a_run_that_was_lost_before_it_had_a_folder_is_started_anew(folder, output):
    command = ["train", "1", "lost", *output.split()]
    (folder / "other").mkdir()
    process = finished(start(folder, "--restarts", "1", *command))
    assert process.returncode == 0, process.stderr
    assert "restarted 2 workers anew, since worker 1 was killed by SIGKILL" in process.stdout
    assert "--resume" not in process.stdout


def test_a_process_that_outlives_its_worker_does_not_hold_up_the_launcher(folder):
    start_time = time.monotonic()
    process = finished(start(folder, "-n", "1", "train", "0", "leave"))
    assert time.monotonic() - start_time < 50  # the process sleeps for 60 seconds
    assert (process.returncode, process.stderr) == (0, "")
    os.kill(int(process.stdout.split()[-1]), signal.SIGKILL)


def test_a_worker_that_cannot_be_started_leaves_no_thread_that_holds_up_the_launcher():
    program = """
from wrn3d.launch.group import ProcessGroup
from wrn3d.launch.processes import WorkerProcess
WorkerProcess(ProcessGroup(), ["\\0"], 0, ["127.0.0.1:1"])
"""
    process = run_python("-c", program)
    assert process.returncode == 1
    assert process.stderr.endswith("ValueError: embedded null byte\n")


def test_a_signal_reaches_the_workers(folder):
    process = start(folder, "train", "0", "wait")
    while "ready" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGTERM)
    assert finished(process).returncode == 128 + signal.SIGTERM


def test_all_end_when_nobody_reads_their_output(folder):
    command = f"{sys.executable} -m wrn3d.launch train 1 print | head -n 9"
    process = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env=FROM_ANYWHERE,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 128 + signal.SIGPIPE
    assert process.stderr in ("", "[0] ended\n")  # or it was ended before it could say so


def test_workers_are_killed_without_sigkill_which_windows_lacks(monkeypatch):
    monkeypatch.setattr(processes, "signal", SimpleNamespace(SIGTERM=signal.SIGTERM))
    monkeypatch.setattr(group, "os", SimpleNamespace(name="nt"))
    worker = ProcessGroup(), ["-c", "import time; time.sleep(60)"], 0, ["127.0.0.1:1"]
    with processes.WorkerProcess(*worker) as left:
        assert left.running
    with processes.WorkerProcess(*worker) as told_twice:
        stop = processes._ForwardedSignals(worker[0], [told_twice])
        stop.number = signal.SIGINT
        stop._note(signal.SIGINT, None)
        told_twice.process.wait(60)
    assert left.signal_number == told_twice.signal_number == signal.SIGKILL
