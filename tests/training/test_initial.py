"""Runs that start from other weights, and parts of the network that keep theirs."""

import keras
import numpy as np
import pytest

from tests.support.environments import small_environment
from tests.support.processes import run_command
from wrn3d import Checkpoint, Dataset, initial_weights
from wrn3d.network.parameters import part_of
from wrn3d.system.errors import DataError, MissingDataError, UsageError

FRONT_ENDS = ("tensorlayer", "keras")
LEARNING = {"learning_rate": 0.1, "momentum": 0.9}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return an environment after some iterations on digits, and its checkpoint."""
    env = small_environment("keras", averaging=0.5, **LEARNING)
    for _ in range(6):
        env.step()
    path = tmp_path_factory.mktemp("trained") / "best.safetensors"
    env.save(path)
    return env, path


def letters(classes):
    """Return a data set of the digits' shape with other classes."""
    images = np.random.default_rng(0).integers(0, 256, (60, 1, 16, 16, 3)).astype(np.uint8)
    names = "abcdefghijkl"[:classes]
    return Dataset.from_arrays(images, np.arange(60) % classes, class_names=list(names))


def test_a_run_starts_from_the_average_of_other_weights(trained):
    path = trained[1]
    expected = Checkpoint.load(path).average
    first, second = (small_environment(name, init=path.parent, seed=3) for name in FRONT_ENDS)
    for other in (first, second):
        assert (other.iteration, other.epochs_completed) == (0, 0)
        weights = other.get_weights()
        assert all(np.array_equal(weights[name], expected[name]) for name in expected)
    for _ in range(2):
        assert first.step().loss == second.step().loss
    first.reset()
    assert np.array_equal(first.get_weights()["conv0"], expected["conv0"])
    assert first.initial.note == f"weights of {path.parent}"


@pytest.mark.parametrize("classes", [10, 12])
def test_the_head_is_new_where_the_classes_differ(trained, classes):
    other = small_environment("tensorlayer", data=letters(classes), init=trained[1], seed=3)
    weights, expected = other.get_weights(), Checkpoint.load(trained[1]).average
    fresh = initial_weights(other.spec, seed=3)
    for name, array in weights.items():
        source = fresh if part_of(name) == "fc" else expected
        assert np.array_equal(array, source[name]), name
    assert other.initial.note.endswith(f", but the head is new, for {classes} classes")
    other.reset(seed=4)
    assert np.array_equal(
        other.get_weights()["fc.weight"], initial_weights(other.spec, 4)["fc.weight"]
    )


def test_other_networks_are_refused(trained, tmp_path):
    with pytest.raises(DataError, match="does not fit the network .*: choose its depth, widen_fac"):
        small_environment("keras", init=trained[1], depth=16)
    with pytest.raises(DataError, match="does not fit the network"):
        small_environment("keras", init=trained[1], shortcut="projection")
    with pytest.raises(MissingDataError, match="gone does not exist or is not a file: name a chec"):
        small_environment("keras", init=tmp_path / "gone")


def test_frozen_parts_keep_their_weights_in_both_front_ends():
    frozen = ("conv0", "group0", "bn")
    settings = {"freeze": frozen, "weight_decay": 0.01, "averaging": 0.5}
    envs = [small_environment(name, **settings, **LEARNING) for name in FRONT_ENDS]
    before = envs[0].get_weights()
    for _ in range(3):
        first, second = (env.step() for env in envs)
        assert (first.loss, first.accuracy) == (second.loss, second.accuracy)
    weights, others = (env.get_weights() for env in envs)
    for name, array in weights.items():
        assert np.array_equal(array, others[name]), name
        assert np.array_equal(array, before[name]) == (part_of(name) in frozen), name
    gradients = [env.gradients() for env in envs]
    assert {part_of(name) for name in gradients[0]} == {"group1", "group2", "fc"}
    assert all(np.array_equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
    state = envs[0].snapshot()
    assert {part_of(name) for name in state.momentum} == {"group1", "group2", "fc"}
    after = envs[0].step().loss
    envs[1].restore(state)
    assert envs[1].step().loss == after


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_network_frozen_but_for_its_head_learns_as_a_linear_one(front_end):
    parts = ("conv0", "group0", "group1", "group2", "bn")
    env = small_environment(front_end, freeze=parts, learning_rate=0.1)
    volumes, labels = env.next_batch(32)
    model = env.keras_model
    features = keras.Model(model.inputs[0], model.get_layer("pool").output)(volumes).numpy()
    weights = env.get_weights()
    logits = features @ weights["fc.weight"] + weights["fc.bias"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    slope = (shares - np.eye(10)[labels]) / 32
    found = env.gradients(volumes, labels)
    assert found.keys() == {"fc.weight", "fc.bias"}
    np.testing.assert_allclose(found["fc.weight"], features.T @ slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["fc.bias"], slope.sum(axis=0), rtol=1e-4, atol=1e-6)


def test_something_must_be_trained():
    with pytest.raises(UsageError, match="freeze names all parts of the network, so nothing would"):
        small_environment("keras", freeze=("conv0", "group0", "group1", "group2", "bn", "fc"))
    with pytest.raises(UsageError, match="freeze is 'group3', but must be conv0, group0, group1, "):
        small_environment("keras", freeze=("group3",))


def test_the_command_says_what_it_starts_from_and_freezes(trained, tmp_path):
    flags = ["--dataset", "digits", "--volume-size", 16, "--depth", 10, "--widen-factor", 1]
    run = ["cifar_wide_resnet_keras.py", *flags, "--iterations", 2, "--output", tmp_path / "run"]
    process = run_command(*run, "--init", trained[1], "--freeze", "conv0", "group0")
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0].endswith("parameters, frozen: conv0 group0")
    assert lines[1] == f"init      weights of {trained[1]}"
    again = [*run[:-4], "--iterations", 4, "--output", tmp_path / "run", "--resume"]
    process = run_command(*again, "--init", trained[1], "--freeze", "conv0")
    assert process.returncode == 2
    assert "has another network or optimizer: freeze was ['conv0', 'group0'] and is ('conv0',)" in (
        process.stderr
    )
    process = run_command(*again, "--init", trained[1], "--freeze", "conv0", "group0")
    assert process.returncode == 0, process.stderr
