"""A process that waits for others says so, and ends when it is told to or has waited long."""

import signal

import pytest

from tests.support.processes import finished, run_python, start_python
from wrn3d.system.errors import WorkerError

# Waits as in TensorFlow: in C, without Python's lock, whatever signals come.
PROGRAM = """
import ctypes, socket, sys, threading, time
from contextlib import nullcontext
from wrn3d.distributed import patience
from wrn3d.distributed.peers import Peers
from wrn3d.system.signals import StopRequest

patience.PATIENCE, patience.NOTICE, patience.STOP, patience.TICK = 1.2, 0.5, 0.4, 0.1
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1] if "answered" in sys.argv else 1
peers = Peers(1, [("/job:worker/task:0", f"127.0.0.1:{port}"), ("/job:worker/task:1", "")])

def answer():
    while True:
        with server.accept()[0] as caller:
            caller.sendall(b"hello")

threading.Thread(target=answer, daemon=True).start()
libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(100)
libc.pthread_mutex_lock(lock)
start = time.monotonic()
with StopRequest() if "stops" in sys.argv else nullcontext(), patience.limited_wait(peers):
    while "computes" in sys.argv and time.monotonic() < start + 1.5:
        pass
    print("waits", flush=True)
    libc.pthread_mutex_lock(lock)
"""
NOTE = "note: worker 1 is waiting for worker 0 (127.0.0.1:1)\n"
AGAIN = "start all workers again, with --resume if the run has a folder\n"
LATE = f"error: worker 1 has waited for worker 0 (127.0.0.1:1) for 1.2 seconds: {AGAIN}"


def test_a_process_that_only_waits_is_ended_and_one_that_computes_is_not():
    process = run_python("-c", PROGRAM, "computes")
    assert (process.returncode, process.stdout) == (WorkerError.exit_status, "waits\n")
    assert process.stderr == NOTE + LATE


@pytest.mark.parametrize("program", ["stops", "has Python's handlers"])
@pytest.mark.parametrize("signals", [["SIGTERM"], ["SIGINT"], ["SIGTERM", "SIGINT"]])
def test_a_signal_ends_a_process_that_waits(program, signals):
    process = start_python("-c", PROGRAM, program)
    assert process.stderr.readline() == NOTE
    numbers = [signal.Signals[name] for name in signals]
    for number in numbers:
        process.send_signal(number)
    process = finished(process)
    if numbers[0] == signal.SIGTERM and program != "stops":  # Python leaves it to the system
        assert (process.returncode, process.stderr) == (-signal.SIGTERM, "")
        return
    name = "Ctrl-C" if numbers[-1] == signal.SIGINT else "SIGTERM"
    assert process.returncode == 128 + numbers[-1]
    assert process.stderr == (
        f"stopped by {name} while waiting for worker 0 (127.0.0.1:1): {AGAIN}"
    )


def test_a_signal_leaves_time_to_a_worker_that_answers():
    """It may be finishing its iteration."""
    process = start_python("-c", PROGRAM, "stops", "answered")
    assert process.stderr.readline().startswith("note: worker 1 is waiting for worker 0 (")
    process.send_signal(signal.SIGTERM)
    process = finished(process)
    assert process.returncode == WorkerError.exit_status
    assert process.stderr.endswith(f" for 1.2 seconds: {AGAIN}")
