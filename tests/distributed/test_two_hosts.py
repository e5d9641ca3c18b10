"""Several workers for longer, and on two hosts: `make soak` runs this, as root.

Each host is a network namespace. A slow and lossy link joins the two.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest

from tests.distributed.bad_link import DEVICE
from tests.distributed.processes import (
    MODULE,
    SECONDS_TO_NOTICE,
    start_training,
    tf_config,
    trained_arrays,
)
from tests.distributed.test_several_workers import UNEVEN, disturb, launch
from tests.support.processes import FROM_ANYWHERE, PIPED, start_python
from tests.support.runs import FULL, contents
from wrn3d.system.errors import WorkerError

pytestmark = pytest.mark.soak

HOSTS = {"wrn3d-a": "10.77.0.1", "wrn3d-b": "10.77.0.2"}


def test_runs_whose_workers_are_killed_or_hang_end_with_the_same_bits(tmp_path, request, capsys):
    draw, log = random.Random(0), tmp_path / "log"
    assert launch("keras", *FULL, "--output", tmp_path / "undisturbed").wait(300) == 0
    expected = contents(tmp_path / "undisturbed")
    faults, seconds, folder = Counter(), {signal.SIGKILL: [], signal.SIGSTOP: []}, None
    while faults.total() < max(2, request.config.getoption("--kills") // 10):
        if folder is None or contents(folder) == expected:
            folder = tmp_path / f"run{faults.total()}"
        number = draw.choice([signal.SIGKILL, signal.SIGSTOP])
        status, took = disturb(draw.choice(["keras", "tensorlayer"]), folder, log, number, draw)
        assert status in (0, WorkerError.exit_status), log.read_text()
        assert took < SECONDS_TO_NOTICE and "Traceback" not in log.read_text()
        if status:
            faults[number.name] += 1
            seconds[number].append(took)
    assert launch("keras", *FULL, "--output", folder, "--resume").wait(300) == 0
    assert contents(folder) == expected
    with capsys.disabled():
        print(
            f"\n{dict(faults)}; all had ended after",
            *(
                f"{np.median(took):.1f} s (at most {max(took):.1f} s) of {number.name}"
                for number, took in seconds.items()
                if took
            ),
        )


def test_three_workers_give_the_same_bits_in_either_front_end(tmp_path):
    """Train with both. They have their gradients in different orders, and in a ring the sum of
    three numbers depends on their place in a message."""
    settings, arrays = UNEVEN | {"shortcut": "projection"}, []
    for front_end in ("tensorlayer", "keras"):
        path = tmp_path / f"{front_end}.npz"
        arrays.append(trained_arrays(start_training(3, front_end, path, 10, settings), path))
    one, other = arrays
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def ip(*arguments, check=True):
    subprocess.run(["ip", *arguments], check=check)


@contextmanager
def two_hosts(delay=0.0, loss=0.0, megabits=None):
    """Make two network namespaces and join them by a `bad_link`, `delay` seconds each way; yield
    the link's process."""
    for host in HOSTS:
        ip("netns", "add", host)
    link = None
    try:
        ends = [text for pair in HOSTS.items() for text in pair]
        link = start_python("-m", "tests.distributed.bad_link", *ends, delay, loss)
        assert link.stdout.readline() == "up\n", link.stderr.read()
        for host in HOSTS if megabits else ():
            limit = f"rate {megabits}mbit burst 64kb latency 50ms".split()
            ip(*f"netns exec {host} tc qdisc add dev {DEVICE} root tbf".split(), *limit)
        yield link
    finally:
        if link:
            link.kill()
        for host in HOSTS:
            ip("netns", "del", host, check=False)


@contextmanager
def training_on_hosts(path, iterations):
    """Start a worker of `worker_run` on each host; kill those that remain at the end."""
    addresses = [f"{address}:17077" for address in HOSTS.values()]
    command = [sys.executable, "-m", MODULE, "tensorlayer", path, iterations, json.dumps(UNEVEN)]
    workers = [
        subprocess.Popen(
            ["ip", "netns", "exec", host, *map(str, command)],
            env=FROM_ANYWHERE | tf_config(addresses, index),
            **PIPED,
        )
        for index, host in enumerate(HOSTS)
    ]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.parametrize("conditions", [{}, {"delay": 0.02, "loss": 0.01}, {"megabits": 100}])
def test_the_network_changes_nothing_but_the_time(tmp_path, conditions, capsys):
    path = tmp_path / "one.npz"
    on_one = trained_arrays(start_training(2, "tensorlayer", path, 10, UNEVEN), path)
    path, start = tmp_path / "two.npz", time.monotonic()
    with two_hosts(**conditions), training_on_hosts(path, 10) as workers:
        on_two = trained_arrays(workers, path)
    assert all(np.array_equal(on_two[name], on_one[name]) for name in on_one)
    with capsys.disabled():
        print(f"\n{conditions or 'a good link'}: {time.monotonic() - start:.0f} s")


def test_a_host_that_is_cut_off_is_noticed(tmp_path):
    with two_hosts(delay=0.005) as link, training_on_hosts(tmp_path / "x", 100_000) as workers:
        time.sleep(40)  # until the workers train
        assert all(worker.poll() is None for worker in workers)
        link.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        for worker in workers:
            assert worker.wait(SECONDS_TO_NOTICE) == WorkerError.exit_status
        assert time.monotonic() - start < SECONDS_TO_NOTICE
