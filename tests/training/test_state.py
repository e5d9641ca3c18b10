"""A run's state: reset, snapshot, restore, save, load, and the weights alone."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tests.support.environments import SCRIPTS, small_environment
from tests.training.states import full_state, refused, same
from wrn3d import Checkpoint
from wrn3d.system.errors import DataError


def losses(env, count=3):
    return [env.step().loss for _ in range(count)]


def test_reset_gives_the_first_iteration_again(env):
    first, weights = losses(env), env.get_weights()
    env.reset(first=False)
    assert (env.iteration, env.index_in_epoch, env.epochs_completed) == (0, 0, 0)
    assert losses(env) == first and same(env.get_weights(), weights)


@pytest.mark.parametrize("seed", [-1, 1.5, "x"])
def test_an_invalid_seed_is_refused_before_anything_changes(env, seed):
    env.step()
    checkpoint = Checkpoint(env.get_weights(), config={"seed": seed})
    for change in (lambda: env.reset(seed=seed), lambda: env.restore(checkpoint)):
        with refused(env, ValueError, f"^seed is {seed!r}, but must be a whole number"):
            change()


def test_branches_from_a_snapshot_repeat_exactly(env):
    losses(env, 2)
    start, ends = env.snapshot(), []
    for rate in (0.1, 0.01, 0.1):
        env.restore(start)
        branch = [env.step(learning_rate=rate).loss for _ in range(3)]
        ends.append((branch, env.get_weights()))
    assert ends[0][0] == ends[2][0] and same(ends[0][1], ends[2][1])
    assert ends[0][0] != ends[1][0]
    assert start.iteration == 2  # what came after has not changed it


def test_a_saved_run_continues_in_either_front_end_as_if_never_stopped(env, other, tmp_path):
    losses(env)
    env.learning_rate_scale = 0.5
    env.save(tmp_path / "run.safetensors")
    expected, end = losses(env), full_state(env)
    for one in (env, other):
        one.reset()
        one.load(tmp_path / "run.safetensors")
        assert (one.iteration, one.index_in_epoch) == (3, 96)
        assert losses(one) == expected
        assert same(full_state(one), end)
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]


def test_adam_continues_in_the_other_front_end_as_if_never_stopped():
    settings = {"optimizer": "adam", "learning_rate": 1e-3, "averaging": 0.9, "batch_size": 8}
    env, other = (small_environment(name, **settings) for name in SCRIPTS)
    losses(env)
    middle, expected, end = env.snapshot(), losses(env), env.snapshot()
    assert middle.velocity.keys() == middle.momentum.keys() != set()
    for one in (env, other):
        one.restore(middle)
        assert losses(one) == expected
        for kind in ("weights", "momentum", "velocity", "average"):
            assert same(getattr(one.snapshot(), kind), getattr(end, kind)), kind


def test_a_snapshot_brings_its_seed_along_but_a_file_does_not(env, tmp_path):
    env.reset(seed=1)
    env.step()
    env.save(tmp_path / "one.safetensors")
    start, expected = env.snapshot(), losses(env)
    env.reset(seed=2)
    env.load(tmp_path / "one.safetensors")
    assert (env.config.seed, env.iteration) == (2, 1) and losses(env) != expected
    env.restore(start)
    assert env.config.seed == 1 and losses(env) == expected


def test_weights_alone_start_without_momentum_at_the_first_batch(env, tmp_path):
    losses(env, 2)
    weights = env.get_weights()
    Checkpoint(weights).save(tmp_path / "weights.safetensors")
    env.load(tmp_path / "weights.safetensors")
    assert (env.iteration, env.index_in_epoch) == (0, 0)
    assert same(env.get_weights(), weights) and same(env.snapshot().average, weights)
    assert not any(array.any() for array in env.snapshot().momentum.values())


def test_weights_are_got_and_set(env):
    weights = {name: array + 1 for name, array in env.get_weights().items()}
    env.set_weights(weights)
    assert same(env.get_weights(), weights)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"bn.bias": None}, "^weights for WRN-10-1 belong to another network: bn.bias is missing$"),
        ({"conv9": np.zeros(1)}, "conv9 is unexpected"),
        (
            {"\x1b]0;owned" + "x" * 5000: np.zeros(1)},
            r"another network: \?\]0;ownedx{180,200}\.\.\. is unexpected$",
        ),
        ({"fc.bias": np.array(["1"] * 10)}, "are not all arrays of numbers: fc.bias is <U1$"),
        ({"fc.bias": np.zeros(10, bool)}, "are not all arrays of numbers: fc.bias is bool$"),
        ({"fc.bias": np.zeros(10, complex)}, "are not all arrays of numbers: fc.bias is complex1"),
        ({"fc.bias": [[1], [1, 2]]}, "numbers: fc.bias cannot be converted to an array"),
        ({"fc.bias": torch.ones(10, requires_grad=True)}, "numbers: fc.bias cannot be converted t"),
        ({3: np.zeros(1)}, "another network: 3 is unexpected$"),
        ({"fc.bias": np.zeros(3)}, r"fc.bias is \(3,\) instead of \(10,\)"),
    ],
)
def test_weights_of_another_network_are_refused_before_anything_changes(env, change, message):
    weights = {name: array + 1 for name, array in env.get_weights().items()} | change
    weights = {name: array for name, array in weights.items() if array is not None}
    for assign in (env.set_weights, lambda weights: env.restore(Checkpoint(weights))):
        with refused(env, DataError, message):
            assign(weights)


def test_a_checkpoint_without_weights_is_refused_before_anything_changes(env):
    with refused(env, DataError, "^weights for WRN-10-1 belong to another network: conv0 is miss"):
        env.restore(Checkpoint({}))


def test_momentum_that_does_not_fit_is_refused_before_anything_changes(env):
    state = env.snapshot()
    state = replace(state, weights={name: array + 1 for name, array in state.weights.items()})
    with refused(env, DataError, "momentum for WRN-10-1 belong to another network: conv0 "):
        env.restore(replace(state, momentum={"x": np.zeros(1)}))
    texts = {name: array.astype(str) for name, array in state.momentum.items()}
    with refused(env, DataError, "momentum for WRN-10-1 are not all arrays of numbers: conv0 is <"):
        env.restore(replace(state, momentum=texts))
    with refused(env, DataError, "trained with 'adam', but this run uses sgd, which can"):
        env.restore(replace(state, config=state.config | {"optimizer": "adam"}))


def test_other_objects_and_files_are_refused_before_anything_changes(env, tmp_path):
    weights = env.get_weights()
    with refused(env, ValueError, "^restore takes a Checkpoint from snapshot"):
        env.restore(weights)
    with refused(env, DataError, "must be a dictionary of arrays, not list"):
        env.set_weights(list(weights.values()))
    (tmp_path / "x").write_bytes(b"not safetensors")
    with refused(env, DataError, "x cannot be read as a checkpoint"):
        env.load(tmp_path / "x")


@pytest.fixture
def averaging(env):
    """Return the environment after iterations that have moved the average off the weights."""
    losses(env, 6)
    return env


def test_nested_averages_change_nothing(averaging):
    env, state = averaging, full_state(averaging)
    average, outside = env.snapshot().average, env.evaluate()
    with env.averaged():
        with env.averaged():
            assert same(env.get_weights(), average)
        assert env.evaluate() == outside and same(env.get_weights(), average)
        assert env.predict(env.dataset.normalise(env.dataset.test_volumes[:2])).shape == (2, 10)
        assert same(full_state(env), state)
        with pytest.raises(KeyError), env.averaged():
            raise KeyError
        assert same(env.get_weights(), average)
    context = env.averaged()
    with context:
        with context:
            pass
        assert same(env.get_weights(), average)
    assert same(full_state(env), state) and env.evaluate() == outside


@pytest.mark.parametrize("name", ["step", "set_weights", "restore", "reset", "load"])
def test_what_changes_the_weights_is_refused_while_the_model_holds_their_average(
    averaging, name, tmp_path
):
    env = averaging
    env.save(tmp_path / "x")
    arguments = {
        "set_weights": [env.get_weights()],
        "restore": [env.snapshot()],
        "load": [tmp_path / "x"],
    }
    message = "^the model holds an average of its weights: leave `with env.averaged"
    with refused(env, ValueError, message), env.averaged():
        getattr(env, name)(*arguments.get(name, ()))
    env.step()  # outside it is allowed again


def test_looking_at_the_next_iteration_is_allowed_while_the_model_holds_the_average(averaging):
    state = full_state(averaging)
    with averaging.averaged():
        assert averaging.step(update=False).iteration == 7
        assert averaging.gradients().keys() >= {"conv0", "fc.weight"}
    assert same(full_state(averaging), state)


def test_a_snapshot_brings_the_training_rows_along(env, other, tmp_path):
    rows = np.arange(1, 1500, 5)
    env.use_only(rows)
    losses(env, 1)
    env.save(tmp_path / "some.safetensors")
    some, expected, mean = env.snapshot(), losses(env), env.mean
    rows += 1  # the caller's array is not the run's
    env.use_only(None)
    env.save(tmp_path / "all.safetensors")
    every, expected_of_all = env.snapshot(), losses(env)
    assert every.rows is None and np.array_equal(some.rows, np.arange(1, 1500, 5))
    for one in (env, other):
        for go_to_some, go_to_all in (
            (lambda one=one: one.restore(some), lambda one=one: one.restore(every)),
            (
                lambda one=one: one.load(tmp_path / "some.safetensors"),
                lambda one=one: one.load(tmp_path / "all.safetensors"),
            ),
        ):
            go_to_some()
            assert one.num_examples == 300 and np.array_equal(one.mean, mean)
            assert losses(one) == expected
            go_to_all()
            assert one.num_examples == 1500 and losses(one) == expected_of_all
    with safe_open(tmp_path / "all.safetensors", framework="numpy") as file:
        assert "training/rows" not in file.keys()  # noqa: SIM118


def test_weights_alone_leave_the_training_rows_as_they_are(env):
    env.use_only(np.arange(100))
    env.restore(Checkpoint(env.get_weights()))
    assert env.num_examples == 100
    env.reset()
    assert env.num_examples == 100


def test_rows_that_the_data_lack_are_refused_before_anything_changes(env):
    env.use_only(np.arange(1400, 1500))
    state = env.snapshot()
    small = small_environment("keras", validation=600)
    message = "^the checkpoint was trained on rows that digits lacks .*: load its weights alone"
    with pytest.raises(DataError, match=message):
        small.restore(replace(state, config=small.snapshot().config))
    assert small.num_examples == 900


@pytest.mark.parametrize("copy_of", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_environment_is_not_copied(env, copy_of):
    with refused(env, ValueError, "^a CNNEnv cannot be copied or pickled: keep its state with"):
        copy_of(env)
