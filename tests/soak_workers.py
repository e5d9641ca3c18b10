"""Several workers for longer, and worse: run by `make soak`, since it takes half an hour and root.

Faults at random moments; and workers on two hosts of their own, network namespaces that a slow and
lossy link joins.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from tests.support.bad_link import DEVICE
from tests.support.fork_server import ROOT
from tests.support.processes import start_python
from tests.support.runs import FULL, contents
from tests.test_workers import NOTICED, UNEVEN, disturb, launch, several
from wrn3d.launch.resources import cores_of
from wrn3d.system.errors import WorkerError

HOSTS = {"wrn3d-a": "10.77.0.1", "wrn3d-b": "10.77.0.2"}


def test_runs_whose_workers_are_killed_or_hang_end_with_the_same_bits(tmp_path, request, capsys):
    draw, log = random.Random(0), tmp_path / "log"
    undisturbed = launch("keras", *FULL, "--output", tmp_path / "undisturbed")
    assert undisturbed.wait(300) == 0
    expected = contents(tmp_path / "undisturbed")
    faults, seconds, folder = Counter(), {signal.SIGKILL: [], signal.SIGSTOP: []}, None
    while faults.total() < request.config.getoption("--kills"):
        if folder is None or contents(folder) == expected:
            folder = tmp_path / f"run{faults.total()}"
        number = draw.choice([signal.SIGKILL, signal.SIGSTOP])
        status, took = disturb(draw.choice(["keras", "tensorlayer"]), folder, log, number, draw)
        assert status in (0, 3, 128 + signal.SIGKILL), log.read_text()
        assert took < NOTICED and "Traceback" not in log.read_text()
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
    """Of three numbers it matters which two a ring adds first, and so where in a message they are:
    the front ends have their gradients in different orders."""
    one, other = (
        several(3, front_end, tmp_path / f"{front_end}.npz", 10, shortcut="projection", **UNEVEN)
        for front_end in ("tensorlayer", "keras")
    )
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


@contextmanager
def two_hosts(delay=0.0, loss=0.0, megabits=None):
    """Two network namespaces that a `bad_link` joins, of so many seconds each way; its process."""

    def ip(*arguments, check=True):
        subprocess.run(["ip", *arguments], check=check)

    for host in HOSTS:
        ip("netns", "add", host)
    link = None
    try:
        ends = [text for pair in HOSTS.items() for text in pair]
        link = start_python(ROOT / "tests" / "support" / "bad_link.py", *ends, delay, loss)
        assert link.stdout.readline() == "up\n", link.stderr.read()
        for host in HOSTS if megabits else ():
            ip(
                "netns",
                "exec",
                host,
                "tc",
                "qdisc",
                "add",
                "dev",
                DEVICE,
                "root",
                "tbf",
                "rate",
                f"{megabits}mbit",
                "burst",
                "64kb",
                "latency",
                "50ms",
            )
        yield link
    finally:
        if link:
            link.kill()
        for host in HOSTS:
            ip("netns", "del", host, check=False)


def start_on_hosts(front_end, path, iterations, **settings):
    """A worker of `worker_run` on each host, with as many cores as `launch` would give it: on how
    many a sum is divided decides on its last bits."""
    cluster = {"worker": [f"{address}:17077" for address in HOSTS.values()]}
    return [
        subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                host,
                sys.executable,
                str(ROOT / "tests" / "support" / "worker_run.py"),
                front_end,
                str(path),
                str(iterations),
                json.dumps(settings),
            ],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "TF_CONFIG": json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": index}}
                ),
            },
            preexec_fn=partial(os.sched_setaffinity, 0, cores_of(index, len(HOSTS))),
        )
        for index, host in enumerate(HOSTS)
    ]


@pytest.mark.parametrize("conditions", [{}, {"delay": 0.02, "loss": 0.01}, {"megabits": 100}])
def test_the_network_changes_nothing_but_the_time(tmp_path, conditions, capsys):
    on_one = several(2, "tensorlayer", tmp_path / "one.npz", 10, **UNEVEN)
    start = time.monotonic()
    with two_hosts(**conditions):
        processes = start_on_hosts("tensorlayer", tmp_path / "two.npz", 10, **UNEVEN)
        try:
            for process in processes:
                _, errors = process.communicate(timeout=600)
                assert process.returncode == 0, errors
        finally:
            for process in processes:
                process.kill()
    found = np.load(tmp_path / "two.npz")
    assert all(np.array_equal(found[name], on_one[name]) for name in on_one)
    with capsys.disabled():
        print(f"\n{conditions or 'a good link'}: {time.monotonic() - start:.0f} s")


def test_a_host_that_is_cut_off_is_noticed(tmp_path):
    with two_hosts(delay=0.005) as link:
        processes = start_on_hosts("tensorlayer", tmp_path / "never.npz", 100_000, **UNEVEN)
        try:
            time.sleep(40)  # until they train
            assert all(process.poll() is None for process in processes)
            link.send_signal(signal.SIGSTOP)
            start = time.monotonic()
            for process in processes:
                assert process.wait(NOTICED) == WorkerError.exit_status
            assert time.monotonic() - start < NOTICED
        finally:
            for process in processes:
                process.kill()
