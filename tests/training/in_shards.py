"""Runs in shards beside runs without: `test_shards.py` gives these tests a process of their own.

Both are possible in a process with one thread for each op: pytest --shards 2 FILE
"""

import keras
import numpy as np
import pytest

import wrn3d
from tests.support.environments import small_environment
from tests.training.states import FULL, full_state, same
from wrn3d.network.variables import assign, named_variables, values
from wrn3d.system.memory import resident_memory
from wrn3d.training.losses import CrossEntropy


@pytest.fixture(scope="module")
def pair(front_end):
    """Return a run in shards and one without."""
    return tuple(small_environment(front_end, **FULL | one) for one in ({}, {"shards": 1}))


def test_shards_compute_what_the_whole_batch_does(pair):
    """Check it up to rounding, which moves some inputs of ReLU across zero."""
    gradients, expected = (env.gradients() for env in pair)
    for name, gradient in gradients.items():
        error = np.linalg.norm(gradient - expected[name])
        allowed = 1e-5 if name.startswith("fc") else 2e-2
        assert error <= allowed * np.linalg.norm(expected[name]), name
    for tolerance in (1e-6, 1e-4, 1e-3):
        loss, whole = (env.step().loss for env in pair)
        assert loss == pytest.approx(whole, rel=tolerance)
    assert loss != whole


def test_a_checkpoint_has_the_same_state_with_shards_and_without(pair, tmp_path):
    for env, other in (pair, pair[::-1]):
        for _ in range(5):
            env.step()
        env.save(tmp_path / "run.safetensors")
        other.load(tmp_path / "run.safetensors")
        assert same(full_state(other), full_state(env))
        volumes = env.x_test[:50]
        assert np.array_equal(env.predict(volumes), other.predict(volumes))


def test_a_model_without_the_run_gives_the_same_logits(pair, tmp_path):
    env = pair[0]
    env.step()
    weights, volumes = env.get_weights(), env.x_test[:50]
    expected = env.logits(volumes)  # not of the EMA
    model = wrn3d.tensorlayer_model(env.spec)
    assign(named_variables(model), weights)
    assert np.array_equal(model(volumes, is_train=False), expected)
    env.keras_model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert same(values(named_variables(loaded)), weights)
    assert np.array_equal(loaded.predict_on_batch(volumes), expected)


def test_fit_and_predict_of_a_keras_run_are_its_steps_and_logits():
    env = small_environment("keras", **FULL)
    start, volumes, labels = env.snapshot(), env.x_train[:80], env.y_train[:80]
    for rows in np.split(np.arange(80), (32, 64)):  # the last batch is shorter
        env.train_batch(volumes[rows], labels[rows], 0.05)
    expected = env.get_weights()
    env.restore(start)
    env.model.fit(volumes, labels, batch_size=32, shuffle=False, verbose=0)
    assert same(env.get_weights(), expected) and not same(expected, start.weights)
    together = env.model.predict(volumes, batch_size=32, verbose=0)
    assert np.array_equal(together, env.logits(volumes))


def test_a_frozen_layer_of_a_keras_run_keeps_its_weights_and_averages():
    """Compare with the same model without shards."""
    env = small_environment("keras")
    other = wrn3d.keras_model(env.spec)
    volumes, labels = env.x_train[:32], env.y_train[:32]
    frozen = ("conv0", "group0.block0.bn1", "bn")
    before, losses = env.get_weights(), []
    for model in (env.model, other):
        for name in frozen:
            model.get_layer(name).trainable = False
        model.compile(wrn3d.SGD(0.05), loss=CrossEntropy())
        logs = [model.train_on_batch(volumes, labels, return_dict=True) for _ in range(3)]
        losses.append([float(one["loss"]) for one in logs])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0] != losses[1]
    for name, array in env.get_weights().items():
        assert np.array_equal(array, before[name]) == name.startswith(frozen), name


def test_many_iterations_take_no_memory(pair):
    def grown(env):
        for _ in range(50):  # until all threads have their buffers
            env.step()
        before = resident_memory()
        for _ in range(150):
            env.step()
        return resident_memory() - before

    assert grown(pair[0]) < 3e6
