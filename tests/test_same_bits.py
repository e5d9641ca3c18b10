"""Both front ends: the same losses, logits and weights to the last bit.

In one process here, one after the other; test_compare.py has them in processes of their own.
"""

import numpy as np
import pytest

from tests.support.cifar_files import write_cifar10
from tests.support.environments import SCRIPTS, environment_class
from wrn3d import Checkpoint

PLAIN = {"depth": 16, "widen_factor": 1, "batch_size": 20, "volume_size": 16}
LARGE = {"volume_size": None}
FULL = PLAIN | {
    "widen_factor": 2,
    "dropout": 0.3,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "augment": True,
    "learning_rate": 0.05,
}
RECIPE = FULL | {
    "depth": 10,
    "dropout": 0.0,
    "iterations": 10,
    "schedule": "cosine",
    "warmup": 0.2,
    "label_smoothing": 0.1,
    "class_weights": True,
    "averaging": 0.9,
    "alternate_flips": True,
    "cutout": 8,
    "sizes": (0.625, 0.75, 1.0),
}
ADAM = PLAIN | {"depth": 10, "optimizer": "adam", "learning_rate": 1e-3}
MUON = FULL | {"depth": 10, "optimizer": "muon", "strides": (2, 1, 2), "shortcut": "projection"}


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar10")
    write_cifar10(folder, "py", per_file=30)
    return str(folder)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory, digits):
    """A file of volumes: digits that fade in depth, odd ones and even ones."""
    fading = np.linspace(1, 0.2, 16)[:, None, None]
    made = (digits.train_volumes[:160, :, ::2, ::2, 0] * fading).astype(np.uint8)
    rows = {"train": slice(100), "val": slice(100, 130), "test": slice(130, 160)}
    path = tmp_path_factory.mktemp("volumes") / "digits.npz"
    np.savez_compressed(
        path,
        **{
            f"{split}_{kind}": array[rows[split]]
            for split in rows
            for kind, array in (("images", made), ("labels", digits.train_labels[:160] % 2))
        },
    )
    return str(path)


def run(front_end, settings, path):
    """(what ten iterations, the network and the evaluation say, the Checkpoint after them)."""
    env = environment_class(front_end)(**settings)
    said = [(result.loss, result.accuracy) for result in (env.step() for _ in range(10))]
    logits = env.predict(env.dataset.normalise(env.dataset.test_volumes[:20]))
    said += [logits.tobytes(), env.evaluate()]
    env.save(path)
    return said, Checkpoint.load(path)


def assert_same(left, right):
    assert left[0] == right[0]
    for name in ("weights", "momentum", "velocity", "average"):
        arrays = getattr(left[1], name), getattr(right[1], name)
        assert arrays[0].keys() == arrays[1].keys()
        for key in arrays[0]:
            assert np.array_equal(arrays[0][key], arrays[1][key]), key


@pytest.mark.parametrize(
    "dataset, settings",
    [
        ("digits", PLAIN | {"depth": 10}),
        ("digits", FULL),
        ("cifar10", PLAIN | LARGE),
        ("cifar10", FULL | LARGE | {"shortcut": "projection", "depth": 10}),
        ("digits", RECIPE | {"precision": "bfloat16"}),
        ("digits", ADAM),
        ("digits", MUON),
        ("digits", {"recipe": "fast", "widen_factor": 1, "batch_size": 20, "iterations": 10}),
        ("volumes", {"recipe": "volumes", "volume_size": 12, "batch_size": 20, "iterations": 10}),
        # As wide as it has to be for the filter gradients that are matrix products.
        (
            "digits",
            FULL
            | LARGE
            | {"precision": "bfloat16", "depth": 10, "widen_factor": 4, "batch_size": 8},
        ),
    ],
    ids=[
        "digits-plain",
        "digits-full",
        "cifar10-plain",
        "cifar10-full",
        "recipe",
        "adam",
        "muon",
        "fast",
        "volumes",
        "bfloat16",
    ],
)
def test_ten_iterations_agree_between_front_ends(tmp_path, cifar10, volumes, dataset, settings):
    settings = settings | {
        "dataset": volumes if dataset == "volumes" else dataset,
        "data_dir": cifar10,
    }
    assert_same(*(run(front_end, settings, tmp_path / front_end) for front_end in SCRIPTS))


def test_a_run_can_change_sides(tmp_path):
    settings = RECIPE | {
        "dataset": "digits",
        "dropout": 0.3,
        "widen_factor": 1,
        "batch_size": 64,
        "validation": 1000,
        "optimizer": "muon",
    }  # which moves all but kernels as SGD does

    def continued(front_end, start, until):
        env = environment_class(front_end)(**settings)
        if start:
            env.load(start)
        while env.iteration < until:
            env.step()
        end = tmp_path / f"{front_end}-{until}-{bool(start)}"
        env.save(end)
        return end

    undisturbed = Checkpoint.load(continued("keras", None, 10))
    for first, second in (("tensorlayer", "keras"), ("keras", "tensorlayer")):
        middle = continued(first, None, 8)
        position = Checkpoint.load(middle)
        assert (position.epochs_completed, position.index_in_epoch) == (1, 64)  # in an epoch
        assert_same(((), Checkpoint.load(continued(second, middle, 10))), ((), undisturbed))


def test_a_run_repeats_itself(tmp_path, front_end):
    settings = FULL | {"dataset": "digits", "depth": 10}
    assert_same(*(run(front_end, settings, tmp_path / str(n)) for n in range(2)))


def test_another_seed_is_another_run(tmp_path):
    said = [
        run("keras", PLAIN | {"dataset": "digits", "seed": seed}, tmp_path / "x")[0]
        for seed in (0, 1)
    ]
    assert said[0] != said[1]
