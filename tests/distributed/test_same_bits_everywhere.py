"""With shards, a run has the same bits whatever computes it: front end, workers, cores.

Each run is in processes of its own, since the number of an op's threads is a process's.
"""

import os
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest

from tests.distributed.processes import start_training, tf_config, trained_arrays
from tests.support.environments import SCRIPTS
from tests.support.processes import FROM_ANYWHERE, run_command, run_script
from tests.support.runs import FULL, SMALL, contents
from tests.support.volume_files import write_volumes
from wrn3d.system.machine import usable_cores

MOST = usable_cores()
# Lengths and sides that are no powers of two: divisions by those round nothing.
RUN = {
    "dataset": "digits",
    "depth": 10,
    "widen_factor": 1,
    "batch_size": 24,
    "learning_rate": 0.02,
    "dropout": 0.2,
    "augment": True,
    "averaging": 0.9,
    "class_weights": True,
    "label_smoothing": 0.1,
}
SGD = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
OPTIMIZERS = {
    "sgd": SGD,
    "muon": SGD | {"optimizer": "muon"},
    "adam": {"optimizer": "adam", "learning_rate": 1e-3},
}
DATA = {
    "images": {"shortcut": "projection"},  # of 32x32
    "sizes": {"volume_size": 16, "sizes": (0.75, 1.0)},
    "volumes": {"dataset": "volumes", "volume_size": 9, "flip_axes": ("depth", "width")},
}


class Computer(NamedTuple):
    """What computes a run. Each worker has `cores` cores, or all if the machine has fewer."""

    front_end: str
    workers: int
    cores: int


SIMPLEST = Computer("tensorlayer", 1, 1)
T, K = SCRIPTS
# Covers each pair of values of two columns, also with the computers' workers and front ends.
SAMPLE = [
    (2, "images", "sgd", "float32", "local", [(K, 2, 2)]),
    (2, "sizes", "muon", "bfloat16", "synchronised", [(K, 1, 3), (T, 2, 1)]),
    (2, "volumes", "adam", "float32", "synchronised", [(K, 2, 2)]),
    (4, "images", "muon", "float32", "synchronised", [(T, 4, 1)]),
    (4, "sizes", "adam", "float32", "local", [(K, 4, 1), (T, 2, 1)]),
    (4, "volumes", "sgd", "bfloat16", "local", [(T, 4, 2)]),
    (8, "images", "adam", "bfloat16", "synchronised", [(K, 4, 1)]),
    (8, "sizes", "sgd", "float32", "synchronised", [(T, 2, 1)]),
    (8, "volumes", "muon", "float32", "local", [(K, 2, MOST)]),
]
GRID = [
    (shards, *others, [*product(SCRIPTS, [1, 2, 4], sorted({1, 2, 3, MOST}))])
    for shards, *others in product(
        (2, 4, 8), DATA, OPTIMIZERS, ("float32", "bfloat16"), ("synchronised", "local")
    )
]


@pytest.fixture(scope="module")
def volumes(tmp_path_factory, digits):
    path = tmp_path_factory.mktemp("volumes") / "digits.npz"
    write_volumes(path, digits)
    return str(path)


def computed(computer, iterations, settings, path):
    """Return what `training_arrays` finds with this computer."""
    front_end, workers, cores = computer
    started = start_training(workers, front_end, path, iterations, settings, cores_each=cores)
    return trained_arrays(started, path)


def check(settings, computers, iterations, path):
    """Check that all computers find the arrays of SIMPLEST, to the last bit."""
    expected = computed(SIMPLEST, iterations, settings, path)
    assert len(set(expected["loss"])) == iterations and np.isfinite(expected["loss"]).all()
    for computer in computers:
        arrays = computed(computer, iterations, settings, path)
        assert arrays.keys() == expected.keys()
        differing = [name for name in arrays if arrays[name].tobytes() != expected[name].tobytes()]
        assert not differing, computer


def test_any_computer_finds_the_same_bits(tmp_path):
    settings = RUN | SGD | {"volume_size": 12, "shards": 4}
    check(settings, [("keras", 1, 2), ("tensorlayer", 2, 1)], 5, tmp_path / "arrays.npz")


@pytest.mark.parametrize(
    "shards, data, optimizer, precision, batch_norm, computers",
    [pytest.param(*case, marks=pytest.mark.slow) for case in SAMPLE]
    + [pytest.param(*case, marks=pytest.mark.soak) for case in GRID],
)
def test_any_computer_finds_the_same_bits_of_any_run(
    shards, data, optimizer, precision, batch_norm, computers, volumes, tmp_path
):
    settings = {"shards": shards, "precision": precision, "batch_norm": batch_norm}
    settings |= RUN | OPTIMIZERS[optimizer] | DATA[data] | {"iterations": 50}
    if data == "volumes":
        settings["dataset"] = volumes
    computers = [computer for computer in computers if computer[1] <= shards]
    check(settings, computers, settings["iterations"], tmp_path / "arrays.npz")


def train(folder, workers, front_end, *flags):
    """Train through the launcher; return what each iteration logged, the last checkpoint, and the
    last line, which has the test scores."""
    script = f"{SCRIPTS[front_end]}.py"
    flags = [*FULL, "--shards", 4, "--output", folder, *flags]
    process = run_command("-m", "wrn3d.launch", "-n", workers, script, *flags)
    assert process.returncode == 0, process.stderr
    files = contents(folder)
    *_, last = (name for name in files if name.startswith("checkpoint"))
    logged = {name: files[name] for name in files if name.endswith(".csv")}
    return logged, files[last], process.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_run_moves_from_one_worker_to_four_and_back_within_an_epoch(tmp_path):
    expected = train(tmp_path / "one", 1, T, "--iterations", 20)
    assert expected[2].startswith("[0] test      loss ")
    moved = tmp_path / "moved"
    train(moved, 1, K, "--iterations", 7)  # an epoch has 18
    train(moved, 4, T, "--iterations", 14, "--resume")
    assert train(moved, 1, K, "--iterations", 20, "--resume") == expected


def in_cluster(workers):
    return tf_config([f"127.0.0.1:{port}" for port in range(1, workers + 1)], 0)


@pytest.mark.parametrize(
    "flags, workers, message",
    [
        (["--shards", 3], 1, "shards is 3, but must be 1, 2, 4, 8, ..."),
        (
            ["--shards", 4, "--batch-size", 30],
            1,
            "batch_size is 30, but must be a multiple of shards, 4",
        ),
        (["--shards", 4], 3, "3 workers cannot share 4 shards: start a power of two, at most 4"),
        (["--shards", 4], 8, "8 workers cannot share 4 shards: start a power of two, at most 4"),
    ],
)
def test_shards_that_do_not_fit_are_refused_at_the_start(flags, workers, message):
    process = run_script(T, *SMALL, *flags, env=os.environ | in_cluster(workers))
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith(f"error: {message}") and process.stderr.count("\n") == 1


SEVERAL_THREADS = """
import sys
import tensorflow as tf
from cifar_wide_resnet_tl import CNNEnv
from wrn3d.system.exit_status import exit_status

tf.constant(1) + 1
sys.exit(exit_status(lambda: CNNEnv(dataset="digits", shards=2)))
"""
SEVERAL_RUNS = """
import gymnasium
import wrn3d
from cifar_wide_resnet_keras import CNNEnv
from wrn3d.system.errors import UsageError

settings = {"dataset": "digits", "volume_size": 8, "depth": 10, "widen_factor": 1, "batch_size": 8}


def try_to(call):
    try:
        call()
    except UsageError as error:
        print(error)


env = CNNEnv(**settings, shards=2)
try_to(lambda: env.step(*env.next_batch(7)))
try_to(lambda: CNNEnv(**settings))
episode = gymnasium.make("wrn3d/Training-v0", **settings, shards=4).unwrapped
episode.reset(seed=0)
episode.step(episode.action_space.sample())
print(episode.training.iteration, episode.training.worker.sharding.count)
"""


def test_what_a_process_has_done_may_forbid_shards_or_their_absence(tmp_path):
    path, environment = tmp_path / "program.py", FROM_ANYWHERE | {"TF_NUM_INTRAOP_THREADS": "2"}
    path.write_text(SEVERAL_THREADS)
    process = run_command(path, env=environment)
    assert process.returncode == 2
    assert process.stderr.startswith(
        "error: TensorFlow has computed with 2 threads for each op in this process, but shards=2 "
        "needs one: "
    )
    path.write_text(SEVERAL_RUNS)
    process = run_command(path, env=environment)
    assert process.returncode == 0, process.stderr
    length, threads, gym = process.stdout.splitlines()
    assert length.startswith("a batch of 7 cannot be cut into 2 equal shards: ")
    assert threads.startswith("this process has computed in shards, with one thread for each op")
    assert gym == "1 4"
