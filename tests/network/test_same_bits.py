"""Both front ends have the same losses, logits and weights to the last bit.

Here they run in one process; in the tests of `compare` they run in two.
"""

import pytest

from tests.support.cifar_files import write_cifar10
from tests.support.environments import SCRIPTS, environment_class
from tests.support.networks import assert_same_bits
from tests.support.volume_files import write_volumes
from wrn3d import Checkpoint

PLAIN = {"dataset": "digits", "depth": 10, "widen_factor": 1, "batch_size": 8, "volume_size": 8}
FULL = PLAIN | {
    "dropout": 0.3,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "augment": True,
    "learning_rate": 0.05,
}
RECIPE = FULL | {
    "schedule": "cosine",
    "warmup": 0.2,
    "label_smoothing": 0.1,
    "class_weights": True,
    "averaging": 0.9,
    "alternate_flips": True,
    "cutout": 4,
}
CIFAR10 = {"dataset": "cifar10", "volume_size": None, "shortcut": "projection"}
VOLUMES = {"recipe": "volumes", "volume_size": 8, "batch_size": 8}
# In one shard: a process that has computed with several threads refuses more.
FAST = {"recipe": "fast", "dataset": "digits", "widen_factor": 1, "batch_size": 20, "shards": 1}
BFLOAT16 = {"precision": "bfloat16", "widen_factor": 4}  # has filter gradients as matrix products
CASES = {
    "images": FULL | CIFAR10,
    "volumes": VOLUMES | {"depth": 10},
    "adam": PLAIN | {"optimizer": "adam", "learning_rate": 1e-3},
    "muon": RECIPE | BFLOAT16 | {"optimizer": "muon"},
}
SLOW_CASES = {
    "deep": FULL | {"depth": 16, "widen_factor": 2, "volume_size": 16},
    "deep-images": PLAIN | CIFAR10 | {"depth": 16, "shortcut": "pad"},
    "deep-volumes": VOLUMES,
    "fast": FAST,
    "sizes": RECIPE | BFLOAT16 | {"volume_size": 16, "sizes": (0.625, 0.75, 1.0)},
    "strides": FULL | {"optimizer": "muon", "strides": (2, 1, 2), "shortcut": "projection"},
}


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar10")
    write_cifar10(folder, "py", per_file=10)
    return str(folder)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory, digits):
    path = tmp_path_factory.mktemp("volumes") / "digits.npz"
    write_volumes(path, digits)
    return str(path)


def run(front_end, settings, path, iterations=3):
    """Return the results of some iterations, the logits and scores, and the Checkpoint."""
    env = environment_class(front_end)(**settings | {"iterations": iterations})
    results = [(step.loss, step.accuracy) for step in (env.step() for _ in range(iterations))]
    logits = env.predict(env.dataset.normalise(env.dataset.test_volumes[:20]))
    env.save(path)
    return [*results, logits.tobytes(), env.evaluate()], Checkpoint.load(path)


def assert_same(left, right):
    assert left[0] == right[0]
    for kind in ("weights", "momentum", "velocity", "average"):
        assert_same_bits(getattr(left[1], kind), getattr(right[1], kind))


@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_CASES)]
)
def test_iterations_agree_between_front_ends(tmp_path, cifar10, volumes, case):
    settings = {"dataset": volumes, "data_dir": cifar10} | (CASES | SLOW_CASES)[case]
    count = 3 if case in CASES else 10
    assert_same(*(run(front_end, settings, tmp_path / front_end, count) for front_end in SCRIPTS))


def test_run_can_change_between_front_ends(tmp_path):
    settings = RECIPE | {
        "batch_size": 64,
        "validation": 1000,
        "iterations": 10,
        "sizes": (0.75, 1.0),
        "optimizer": "muon",  # moves everything but kernels as SGD does
    }
    environments = {front_end: environment_class(front_end)(**settings) for front_end in SCRIPTS}

    def continued(front_end, start, until):
        env, end = environments[front_end], tmp_path / f"{front_end}-{until}-{bool(start)}"
        env.reset()
        if start:
            env.load(start)
        while env.iteration < until:
            env.step()
        env.save(end)
        return end

    undisturbed = Checkpoint.load(continued("keras", None, 10))
    for first, second in (("tensorlayer", "keras"), ("keras", "tensorlayer")):
        middle = continued(first, None, 8)
        position = Checkpoint.load(middle)
        assert (position.epochs_completed, position.index_in_epoch) == (1, 64)  # within an epoch
        assert_same(((), Checkpoint.load(continued(second, middle, 10))), ((), undisturbed))


@pytest.mark.parametrize("name", ["tensorlayer", pytest.param("keras", marks=pytest.mark.slow)])
def test_run_is_a_function_of_its_seed(tmp_path, name):
    first, again = (run(name, FULL, tmp_path / str(number)) for number in range(2))
    assert_same(first, again)
    other = environment_class(name)(**FULL | {"seed": 1}).step()
    assert (other.loss, other.accuracy) != first[0][0]
