"""Workers wait for each other before they join, and say what keeps them from it."""

import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.processes import finished, start_python
from wrn3d.distributed import patience, rendezvous
from wrn3d.distributed.peers import Peers
from wrn3d.distributed.rendezvous import meet
from wrn3d.launch.resources import free_ports
from wrn3d.system.errors import UsageError, WorkerError

PROGRAM = """
import sys
from wrn3d.distributed import patience, rendezvous
from wrn3d.distributed.peers import Peers
from wrn3d.system.exit_status import exit_status

patience.NOTICE = 0.5
index, *addresses = sys.argv[1:]
peers = Peers(int(index), [(f"/job:worker/task:{n}", one) for n, one in enumerate(addresses)])
sys.exit(exit_status(rendezvous.meet, peers))
"""


def addresses(count):
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def peers(index, addresses):
    tasks = [(f"/job:worker/task:{number}", one) for number, one in enumerate(addresses)]
    return Peers(index, tasks)


def outcomes(*workers):
    """Let workers meet; return the kind and message of each one's error, or None."""

    def outcome(worker):
        try:
            return meet(worker)
        except (UsageError, WorkerError) as error:
            return type(error), str(error)

    with ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(outcome, workers))


@pytest.mark.parametrize("count", [2, 3, 20])
def test_all_workers_meet(count):
    others = addresses(count)
    workers = [peers(index, others) for index in range(count)]
    assert outcomes(*reversed(workers)) == [None] * count
    with socket.create_server(("", int(others[0].split(":")[1]))):
        pass  # the port is free for TensorFlow


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_whose_port_is_taken_says_so(index):
    others = addresses(2)
    with socket.create_server(("127.0.0.1", int(others[index].split(":")[1]))):
        (error,) = outcomes(peers(index, others))
    assert error == (
        UsageError,
        f"worker {index} cannot listen at its own address {others[index]} (address already in "
        "use): give each worker a number and a free port of its own",
    )


def test_a_second_worker_of_a_number_is_refused(monkeypatch):
    """They run on different hosts, where their ports are free; one has another list of workers."""
    first, second, third, fourth, fifth = addresses(5)
    monkeypatch.setattr(patience, "PATIENCE", 2)
    late, *found = outcomes(
        peers(0, [first, second, third]),
        peers(1, [first, second, third]),
        peers(1, [first, fourth, third]),
        peers(1, [first, fifth]),
    )
    assert late == (
        WorkerError,
        f"worker 0 has waited for worker 2 ({third}) for 2 seconds: {patience.AGAIN}",
    )
    refused = [message for kind, message in found if kind is UsageError]
    assert len(refused) == 2  # the third one was accepted, and waited in vain
    for message in refused:
        assert message.endswith(
            f" is not expected by worker 0 ({first}): give each worker a number of its own and all "
            "the same list of workers"
        )
    assert any(message.startswith(f"worker 1 ({fifth})") for message in refused)


def test_a_worker_that_comes_after_the_others_says_so(monkeypatch):
    monkeypatch.setattr(rendezvous, "LEFT_ALONE", 0)
    first, second = addresses(2)
    with (
        socket.create_server(("127.0.0.1", int(first.split(":")[1]))) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        outcome = pool.submit(outcomes, peers(1, [first, second]))
        server.settimeout(60)
        with server.accept()[0] as connection:
            connection.sendall(b"\0\0\x12\4\0\0\0\0\0")  # as gRPC's server begins
            ((kind, message),) = outcome.result(60)
    assert kind == WorkerError
    assert message.startswith(f"worker 1 cannot join: worker 0 ({first}) has started without it")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_at_once(number):
    """The second worker of three is missing, and the first one tells the third."""
    others = addresses(3)
    workers = [start_python("-c", PROGRAM, index, *others) for index in (0, 2)]
    awaited = f"worker 1 ({others[1]})"
    for index, worker in zip((0, 2), workers, strict=True):
        while (line := worker.stderr.readline()) != (
            f"note: worker {index} is waiting for {awaited}\n"
        ):
            assert line == f"note: worker 2 is waiting for worker 0 ({others[0]})\n"
            break  # the first one had not started
    for index, worker in zip((0, 2), workers, strict=True):
        worker.send_signal(number)
        worker = finished(worker)
        assert worker.returncode == 128 + number
        last = worker.stderr
        if number == signal.SIGTERM:
            assert last.startswith("stopped by SIGTERM while waiting for worker ")
        else:
            assert last.startswith(f"worker {index} was waiting for worker ")
            assert last.endswith(")\nstopped by Ctrl-C\n")
