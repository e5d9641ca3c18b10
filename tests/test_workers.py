"""Several workers: the same run as one's, whoever falls out of it.

`make soak` asks for more workers; `soak_workers` has what takes longer.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.support.environments import SCRIPTS, environment_class, small_environment
from tests.support.fork_server import ROOT
from tests.support.processes import (
    FROM_ANYWHERE,
    run_python,
    start_command,
    start_python,
    start_script,
)
from tests.support.runs import FULL, SMALL, contents, wait_until
from tests.support.worker_run import trained
from wrn3d.distributed import cluster, collectives
from wrn3d.distributed.cluster_worker import ClusterWorker as SharingWorker
from wrn3d.distributed.workers import Worker, WorkerRank, find_rank
from wrn3d.launch.resources import cores_of, free_ports
from wrn3d.network import convolution, ops
from wrn3d.runs.folder import RunFolder
from wrn3d.system.errors import UsageError, WorkerError
from wrn3d.system.randomness import dropout_position, dropout_shares

UNEVEN = {
    "dataset": "digits",
    "volume_size": 16,
    "depth": 10,
    "widen_factor": 1,
    "batch_size": 31,
    "dropout": 0.2,
    "augment": True,
    "learning_rate": 0.01,
    "weight_decay": 5e-4,
}
NOTICED = 60  # seconds, after which a worker that hangs has been missed


def config(index, count=2, kind="worker", **others):
    return {
        "TF_CONFIG": json.dumps(
            {
                "cluster": {"worker": ["a:1"] * count} | others,
                "task": {"type": kind, "index": index},
            }
        )
    }


@pytest.mark.parametrize(
    "variables, place",
    [
        ({}, WorkerRank()),
        ({"TF_CONFIG": ""}, WorkerRank()),
        ({"TF_CONFIG": "{}"}, WorkerRank()),
        ({"SLURM_STEP_NUM_TASKS": "4"}, WorkerRank()),
        (config(1), WorkerRank(1, 2, "TF_CONFIG", 2)),
        (config(1, chief=["b:1"]), WorkerRank(2, 3, "TF_CONFIG", 2)),
        (config(0, kind="chief", chief=["b:1"]), WorkerRank(0, 3, "TF_CONFIG", 1)),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, WorkerRank()),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, WorkerRank(3, 4, "SLURM")),
    ],
)
def test_the_environment_says_which_worker_a_process_is(variables, place):
    assert find_rank(variables) == place


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "7",
        *(config(*bad)["TF_CONFIG"] for bad in ((2,), (-1,), (0, 2, "evaluator"), (0, 2, "ps"))),
        config(0, ps=["a:1"])["TF_CONFIG"],
        config(0, chief=["a:1", "b:1"])["TF_CONFIG"],
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
    ],
)
def test_a_cluster_that_cannot_be_is_refused(text):
    with pytest.raises(UsageError, match="TF_CONFIG"):
        find_rank({"TF_CONFIG": text})


@given(st.integers(1, 1000), st.integers(1, 64))
def test_the_workers_rows_are_the_batch_as_evenly_as_can_be(total, count):
    parts = []
    for index in range(count):
        worker = Worker()
        worker.index, worker.count = index, count
        parts.append(list(range(total))[worker.rows(total)])
    assert [row for part in parts for row in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 8, 11])
def test_the_cores_are_divided(count, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 3, 7})
    parts = [cores_of(index, count) for index in range(count)]
    users = Counter(chain.from_iterable(parts))
    assert set(users) == {0, 2, 3, 7} and max(users.values()) - min(users.values()) <= 1
    assert all(parts) and (count > 4 or sum(map(len, parts)) == 4)


def test_ports_are_different():
    assert len(set(free_ports(20))) == 20


def test_a_worker_has_its_rows_of_the_dropout_mask():
    x = tf.ones((7, 2, 3, 3, 16))
    shares, position = dropout_shares(0.3), dropout_position(5, "layer", 11)
    whole = ops.dropout(x, shares, position).numpy()
    share = collectives.Shard(2, synchronised=True, single_depth=False)
    for first, last in ((0, 3), (3, 7)):
        share.first.assign(first)
        with collectives.tracing_for(share):
            assert np.array_equal(ops.dropout(x[first:last], shares, position), whole[first:last])


def test_a_kernels_gradient_is_there_before_the_layer_below_hands_its_own_on():
    """So that it can be sent meanwhile; and it changes no bit."""
    draw = np.random.default_rng(0)
    arrays = [
        tf.constant(draw.normal(size=shape), tf.float32)
        for shape in ((2, 1, 6, 6, 4), (3, 3, 3, 4, 5), (3, 3, 3, 5, 6), (3, 3, 3, 6, 7))
    ]

    def gradients(x, *kernels):
        with tf.GradientTape() as tape:
            tape.watch([x, *kernels])
            y = x
            for kernel in kernels:
                y = tf.nn.relu(convolution.conv3d(y, kernel))
            loss = tf.reduce_sum(y**2)
        return tape.gradient(loss, [x, *kernels])

    share = collectives.Shard(2, synchronised=True, single_depth=True)

    def shared(*arrays):
        with collectives.tracing_for(share):
            return gradients(*arrays)

    alone, of_several = (
        tf.function(function, autograph=False).get_concrete_function(*arrays)
        for function in (gradients, shared)
    )
    # The first two layers' gradients of x wait for the kernel's of the next one.
    waiting = [
        [before.name for before in operation.control_inputs]
        for operation in of_several.graph.get_operations()
        if operation.type == "Identity" and operation.control_inputs
    ]
    *_, second, third = [output.op.inputs[0].op.name for output in of_several.graph.outputs]
    assert waiting == [[third], [second]]
    for found in of_several(*arrays), shared(*arrays):
        assert all(np.array_equal(*pair) for pair in zip(alone(*arrays), found, strict=True))


class InThreads:
    """Shares of workers that are threads of this process."""

    def __init__(self, bounds):
        self.bounds, self.arrays = bounds, [None] * (len(bounds) - 1)
        self.barrier = threading.Barrier(len(self.arrays))

    def results(self, work):
        """What `work` returns for each share."""
        with ThreadPoolExecutor(len(self.arrays)) as pool:
            return list(pool.map(lambda index: self._run(work, index), range(len(self.arrays))))

    def _run(self, work, index):
        share = collectives.Shard(len(self.arrays), synchronised=True, single_depth=False)
        share.first.assign(self.bounds[index])
        share.total.assign(self.bounds[-1])
        share.sum = lambda array: self._sum(index, array)
        with collectives.tracing_for(share):
            return work(slice(*self.bounds[index : index + 2]))

    def _sum(self, index, array):
        self.arrays[index] = array
        self.barrier.wait(60)
        total = sum(self.arrays[1:], self.arrays[0])
        self.barrier.wait(60)
        return total


@pytest.mark.parametrize("precision, tolerance", [("float32", 2e-6), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("shape", [(7, 1, 6, 5, 4), (5, 3, 4, 2, 3)])
def test_batch_norm_goes_over_every_workers_rows(shape, precision, tolerance):
    """Output, averages and gradients, of uneven rows, beside TensorFlow's own of all of them."""
    draw = np.random.default_rng(0)
    x, upstream = (tf.constant(draw.normal(3, 2, shape), precision) for _ in range(2))
    weight, bias, mean, var = (
        tf.constant(draw.uniform(0.5, 2, shape[-1]), tf.float32) for _ in range(4)
    )

    def work(rows):
        with tf.GradientTape() as tape:
            tape.watch([x, weight, bias])
            y, *averages = ops.batch_norm_relu(x[rows], weight, bias, mean, var, True)
        gradients = tape.gradient(y, [x, weight, bias], output_gradients=upstream[rows])
        return [y, *averages, *gradients]

    def close(found, expected):
        scale = np.abs(expected).max()
        return np.abs(np.asarray(found, np.float32) - expected).max() <= tolerance * scale

    expected = [np.asarray(array, np.float32) for array in work(slice(None))]
    found = InThreads([0, 2, shape[0]]).results(work)
    assert close(np.concatenate([part[0] for part in found]), expected[0])
    for place in (1, 2):
        assert np.array_equal(found[0][place], found[1][place])
        assert close(found[0][place], expected[place])
    for place in (3, 4, 5):  # each worker has its part of the sum
        assert close(np.asarray(found[0][place], np.float32) + found[1][place], expected[place])


@pytest.mark.parametrize("distance", [0, 1, 10, 100])
def test_batch_norms_statistics_lose_little_far_from_zero(distance):
    """Of the variance 2e-7 (1 + mean^2 / variance), beside NumPy in float64."""
    x = np.random.default_rng(0).normal(distance, 1, (6, 1, 8, 8, 16)).astype(np.float32)

    def work(rows):
        weight, none = tf.ones(16), tf.zeros(16)
        return ops.batch_norm_relu(tf.constant(x[rows]), weight, none, none, none, True)[1:]

    mean, var = InThreads([0, 2, 6]).results(work)[0]
    wide = x.reshape(-1, 16).astype(np.float64)
    momentum, allowed = ops.BATCH_NORM_MOMENTUM, 2e-7 * (1 + distance**2)
    np.testing.assert_allclose(mean, momentum * wide.mean(0), rtol=2e-7, atol=2e-8)
    np.testing.assert_allclose(var, momentum * wide.var(0, ddof=1), rtol=allowed)


def several(count, front_end, path, iterations, **settings):
    """What `count` workers have trained."""
    program = [
        ROOT / "tests" / "support" / "worker_run.py",
        front_end,
        path,
        iterations,
        json.dumps(settings),
    ]
    process = run_python("-m", "wrn3d.launch", "-n", count, *program, env=FROM_ANYWHERE)
    assert process.returncode == 0, process.stdout + process.stderr
    return dict(np.load(path))


def difference(run, other, kind):
    """The relative difference (Euclidean) of all arrays of a kind together."""
    a, b = (
        np.concatenate([found[name].ravel() for name in other if name.startswith(kind)])
        for found in (run, other)
    )
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_several_workers_compute_what_one_does(front_end, tmp_path, worker_count, capsys):
    """But for rounding: the sums are taken in another order. What that comes to after 50
    iterations says a run of one worker whose first kernel starts a rounding step higher."""
    env = environment_class(front_end)(**UNEVEN)
    weights = env.get_weights()
    one = trained(env, 50)
    env.reset()
    env.set_weights(weights | {"conv0": np.nextafter(weights["conv0"], np.float32(np.inf))})
    nudged = trained(env, 50)
    found = several(worker_count, front_end, tmp_path / "several.npz", 50, **UNEVEN)
    assert found["loss"][0] == pytest.approx(one["loss"][0], rel=3e-7)
    assert np.array_equal(found["batch_size"], one["batch_size"])
    assert found["accuracy"][:5] == pytest.approx(one["accuracy"][:5], abs=1e-7)
    said = []
    for kind in ("loss", "weight/"):
        rounding, differs = difference(nudged, one, kind), difference(found, one, kind)
        said.append(f"{kind.rstrip('/')} {differs:.1e} (a rounding step {rounding:.1e})")
        assert 0 < differs < 10 * rounding, said
    # A ReLU at zero may fall on either side, so that a few of the gradients' terms come or go.
    assert difference(found, one, "gradient/") < 5e-3
    assert difference(found, one, "gradient/fc") < 1e-5
    env.set_weights(
        {
            name.removeprefix("weight/"): array
            for name, array in found.items()
            if name.startswith("weight/")
        }
    )
    assert env.predict_split().log_probabilities == pytest.approx(found["predictions"], abs=1e-4)
    with capsys.disabled():
        print(
            f"\n{worker_count} workers against one, {front_end}, after 50 iterations: "
            f"{', '.join(said)}"
        )


def test_local_batch_norm_goes_by_each_workers_rows(front_end, tmp_path):
    settings = {
        "dataset": "digits",
        "volume_size": 16,
        "depth": 10,
        "widen_factor": 1,
        "batch_size": 32,
        "batch_norm": "local",
    }
    found = several(2, front_end, tmp_path / "local.npz", 1, **settings)
    env = small_environment(front_end)
    images, labels = env.next_batch(32)
    halves = []
    for rows in (slice(0, 16), slice(16, 32)):
        env.reset()
        result = env.step(images[rows], labels[rows])
        halves.append((result.loss, env.get_weights()))
    assert found["loss"][0] == pytest.approx(np.mean([loss for loss, _ in halves]), rel=1e-6)
    averages = [name for name in env.get_weights() if ".running_" in name]
    for name in averages:
        mean = np.mean([weights[name] for _, weights in halves], axis=0)
        assert found[f"weight/{name}"] == pytest.approx(mean, rel=1e-5, abs=1e-6), name


def launch(front_end, *arguments, workers=2, restarts=0, **options):
    return start_python(
        "-m",
        "wrn3d.launch",
        "-n",
        workers,
        "--restarts",
        restarts,
        f"{SCRIPTS[front_end]}.py",
        *arguments,
        **options,
    )


def workers_of(launcher):
    """Their processes' numbers, in order."""
    found = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True)
    return [int(number) for number in found.stdout.split()]


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "name a script"),
        (["nowhere.py"], "nowhere.py is no file"),
        (["-n", "0", "x.py"], "workers is 0"),
        (["--restarts", "1", f"{SCRIPTS['keras']}.py"], "--output"),
    ],
)
def test_what_cannot_be_launched_is_said(arguments, said):
    process = run_python("-m", "wrn3d.launch", *arguments)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1 and said in process.stderr


def test_a_batch_without_an_image_for_each_worker_is_refused():
    process = launch("tensorlayer", *SMALL, "--batch-size", "1")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "a batch of 1 has no image for each of the 2 workers" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "meanwhile, ends",
    [("time.sleep(60)", True), ("while time.monotonic() < start + 5: pass", False)],
)
def test_who_only_waits_is_ended_and_not_who_computes(meanwhile, ends):
    program = (
        "import time\nfrom wrn3d.distributed import cluster\ncluster.PATIENCE = 2\n"
        f"start = time.monotonic()\nwith cluster._patience(1):\n    {meanwhile}"
    )
    process = run_python("-c", program)
    assert process.returncode == (WorkerError.exit_status if ends else 0)
    assert process.stderr.startswith("error: worker 1 has waited") == ends
    assert process.stderr.count("\n") == ends


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {
            "SLURM_STEP_NODELIST": "c[1-2]n3",
            "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
            "SLURM_PROCID": "0",
        },
    ],
)
def test_what_slurm_says_of_no_workers_is_refused(variables, monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="TF_CONFIG"):
        cluster._slurm_resolver()


def test_training_that_knows_nothing_of_the_others_is_refused():
    worker = SharingWorker.__new__(SharingWorker)  # not in a cluster
    worker.in_step = False
    with pytest.raises(UsageError, match="call env.step"):
        worker.shared(lambda volumes: volumes)(0)


def test_slurms_tasks_find_each_other(tmp_path):
    """With the variables that srun sets, for two tasks on this machine."""
    slurm = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": "2",
    }
    program = [
        ROOT / "tests" / "support" / "worker_run.py",
        "keras",
        tmp_path / "slurm.npz",
        2,
        json.dumps(UNEVEN),
    ]
    tasks = [
        start_command(*program, env=FROM_ANYWHERE | slurm | {"SLURM_PROCID": str(number)})
        for number in range(2)
    ]
    for task in tasks:
        _, errors = task.communicate(timeout=300)
        assert task.returncode == 0, errors
    alone = trained(environment_class("keras")(**UNEVEN), 2)
    assert np.load(tmp_path / "slurm.npz")["loss"] == pytest.approx(alone["loss"], rel=1e-5)


def test_workers_with_other_settings_are_refused():
    ports = free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    workers = [
        start_script(
            "keras",
            *SMALL,
            "--seed",
            index,
            env=os.environ
            | {
                "TF_CONFIG": json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": index}}
                )
            },
        )
        for index in range(2)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 2
        assert "the workers have different settings or data" in errors


def test_where_nobody_reads_the_output_any_more_all_end():
    command = (
        f"{sys.executable} -m wrn3d.launch -n 2 {SCRIPTS['tensorlayer']}.py "
        f"{' '.join(SMALL)} --iterations 3000 | head -n 9; exit ${{PIPESTATUS[0]}}"
    )
    process = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, text=True, capture_output=True, timeout=300
    )
    assert process.returncode == 128 + signal.SIGPIPE, process.stderr
    assert "Traceback" not in process.stderr


def test_all_stop_after_the_same_iteration_and_any_number_goes_on(tmp_path):
    front_end = "tensorlayer"
    folder, log = tmp_path / "run", tmp_path / "log"
    options = [*SMALL, "--momentum", "0.9", "--nesterov", "--output", folder]
    with log.open("w") as output:
        process = launch(
            front_end, *options, "--iterations", "3000", stdout=output, stderr=subprocess.STDOUT
        )
    assert wait_until(lambda: "iteration   60/" in log.read_text(), process, pause=0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    said = [line for line in log.read_text().splitlines() if "stopped" in line]
    assert len(said) == 1 and said[0].startswith("[0] stopped by SIGTERM after iteration ")
    stopped = int(said[0].split("after iteration ")[1].split()[0])
    alone = start_script(front_end, *options, "--iterations", stopped + 3, "--resume")
    output, errors = alone.communicate(timeout=300)
    assert alone.returncode == 0, errors
    assert f"after iteration {stopped}" in output and f"{stopped + 3}/{stopped + 3}" in output


def disturb(front_end, folder, log, number, draw, restarts=0):
    """(exit status, seconds until it ended) of a run of which a worker gets a signal."""
    trained = max(RunFolder(folder).log.column("loss"), default=0)
    with log.open("w") as output:
        process = launch(
            front_end,
            *FULL,
            "--output",
            folder,
            "--resume",
            restarts=restarts,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    iteration = trained + draw.randrange(1, 25)
    try:
        wait_until(lambda: f"iteration {iteration:2}/" in log.read_text(), process, pause=0.01)
        time.sleep(draw.uniform(0, 0.2))
        with suppress(IndexError, ProcessLookupError):  # it may just have ended
            os.kill(workers_of(process)[draw.randrange(2)], number)
        start = time.monotonic()
        return process.wait(300), time.monotonic() - start
    finally:
        for worker in (*workers_of(process), process.pid):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """(the folder of a run of two workers that nothing befell, what they printed)."""
    folder = tmp_path_factory.mktemp("workers") / "undisturbed"
    process = launch("keras", *FULL, "--output", folder)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors and "WARNING" not in errors
    return folder, output


def test_the_launcher_names_who_says_what_and_only_the_first_worker_does(by_two):
    folder, output = by_two
    lines = output.splitlines()
    assert all(line.startswith("[0] ") for line in lines)
    assert any("workers   2, this one with 16 of a batch's 32 images" in line for line in lines)
    assert lines[-1].startswith("[0] test      loss ")
    assert "checkpoint-00000060.safetensors" in contents(folder)


def test_a_worker_that_dies_ends_all_with_one_sentence(tmp_path, by_two):
    log = tmp_path / "log"
    status, seconds = disturb("keras", tmp_path / "run", log, signal.SIGKILL, random.Random(0))
    said = log.read_text()
    assert status in (3, 128 + signal.SIGKILL) and seconds < NOTICED, said
    assert "Traceback" not in said and said.count("goes no further") == 1
    check_a_restart("tensorlayer", tmp_path, signal.SIGKILL, contents(by_two[0]))


def test_a_worker_that_hangs_is_started_again(tmp_path, by_two):
    check_a_restart("keras", tmp_path, signal.SIGSTOP, contents(by_two[0]))


def check_a_restart(front_end, folder, number, left):
    """The run in the folder goes on, also where a worker gets a signal, to the same bits."""
    log = folder / "log"
    status, _ = disturb(front_end, folder / "run", log, number, random.Random(number), restarts=1)
    assert status == 0, log.read_text()
    assert "restarted 2 workers" in log.read_text()
    assert contents(folder / "run") == left
