"""One iteration: its result, the settings of its own, its failures."""

from unittest.mock import Mock

import numpy as np
import pytest

from tests.support.environments import small_environment
from tests.training.states import FULL, full_state, refused, same, tensorlayer_slow
from wrn3d import TrainingConfig
from wrn3d.data.augmentation import Augmentation
from wrn3d.data.batches import batch_at
from wrn3d.network import ops
from wrn3d.training.step import ADJUSTABLE, adjusted_settings
from wrn3d.verify.reference import Reference

BYTES, VOLUMES = (np.zeros((2, 1, 16, 16, 3), kind) for kind in (np.uint8, np.float32))


def test_a_step_is_one_iteration(env):
    result = env.step(learning_rate=0.02)
    assert (result.iteration, env.iteration, env.index_in_epoch) == (1, 1, 32)
    assert (result.learning_rate, result.batch_size) == (0.02, 32)
    assert np.log(10) * 0.5 < result.loss < np.log(10) * 2
    assert result.accuracy * 32 == int(result.accuracy * 32)
    assert result.images_per_second == 32 / result.seconds
    second = env.step()
    assert (second.iteration, second.learning_rate) == (2, 0.05)


def test_a_step_and_its_gradients_are_the_references(front_end):
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05, "learning_rate": 0.05}
    env = small_environment(front_end, batch_size=8, **settings)
    weights, gradients = env.get_weights(), env.gradients()
    volumes, labels = batch_at(env.dataset, 0, 0, 0, 8)
    reference = Reference(env.spec, weights, volumes, training=True)
    loss = reference.loss_and_backward(labels)
    result = env.step()
    assert result.loss == pytest.approx(loss, rel=1e-5)
    assert result.accuracy == (reference.logits.argmax(axis=1) == labels).mean()
    after = env.get_weights()
    assert gradients.keys() == reference.gradients.keys()
    for name, gradient in reference.gradients.items():
        # The first step of Nesterov's momentum, which starts with the gradient. By norm: in
        # float32 an activation next to zero may fall on ReLU's other side.
        step = -0.05 * 1.9 * (gradient + 0.05 * weights[name].astype(np.float64))
        for actual, expected in (
            (after[name] - weights[name].astype(np.float64), step),
            (gradients[name], gradient),
        ):
            assert np.linalg.norm(actual - expected) < 0.03 * np.linalg.norm(expected), name
    for name, expected in reference.averages.items():
        np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


@tensorlayer_slow
def test_it_learns(front_end):
    env = small_environment(front_end, momentum=0.9, learning_rate=0.02)
    losses = [env.step().loss for _ in range(100)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10]) and env.evaluate().accuracy > 0.7


def test_a_learning_rate_of_zero_moves_only_batch_norms_averages(env):
    env.step()
    before = env.get_weights()
    env.step(learning_rate=0)
    after = env.get_weights()
    moved = {name for name in before if not np.array_equal(after[name], before[name])}
    assert moved == {name for name in before if "running" in name}


def test_the_schedule_decides_the_learning_rate():
    settings = {"iterations": 4, "schedule": "linear", "learning_rate": 0.4, "batch_size": 8}
    env = small_environment("tensorlayer", **settings)
    assert [env.step().learning_rate for _ in range(4)] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert env.learning_rate == 0
    env.reset()
    assert env.learning_rate == 0.4


@pytest.mark.parametrize("batch_norm", ["synchronised", "local"])
@tensorlayer_slow
def test_a_nan_in_any_layer_is_in_the_loss(front_end, batch_norm):
    """A run is known to diverge by its loss."""
    env = small_environment(front_end, batch_size=8, batch_norm=batch_norm)
    weights = env.get_weights()
    for name in ("conv0", "group0.block0.bn0.weight", "group1.block0.conv1", "bn.bias", "fc.bias"):
        spoiled = weights[name].copy()
        spoiled[(spoiled.shape[0] // 2,) * spoiled.ndim] = np.nan
        env.set_weights(weights | {name: spoiled})
        assert np.isnan(env.step(update=False).loss), name


def test_the_iteration_is_traced_once(front_end, monkeypatch):
    env = small_environment(front_end, batch_size=8)
    traced, dense = [], ops.dense
    monkeypatch.setattr(ops, "dense", lambda *arrays: traced.append(arrays) or dense(*arrays))
    for rate in (0.1, 0.02, 0.3):
        env.step(learning_rate=rate)
    env.reset()
    env.step()
    assert len(traced) == env.config.shards
    env.step(*env.next_batch(16))
    assert len(traced) == 2 * env.config.shards


@tensorlayer_slow
def test_an_iteration_may_have_settings_of_its_own(env, front_end):
    own = {"momentum": 0.5, "weight_decay": 0.01, "dropout": 0.6}
    same_settings = small_environment(front_end, **FULL | own)
    for _ in range(2):
        env.step(**own), same_settings.step()
    assert same(env.get_weights(), same_settings.get_weights())
    for name in own:  # each has its effect
        env.reset()
        for _ in range(2):
            env.step(**{key: value for key, value in own.items() if key != name})
        assert not same(env.get_weights(), same_settings.get_weights())
    env.reset(), same_settings.reset()
    env.step(**own), same_settings.step()
    settings = full_state(env)  # the run's own again; Keras's `fit` uses them, too
    assert settings["momentum and weight decay"] == pytest.approx([0.9, 5e-4])
    assert np.unique(settings["dropout"][:, 0]) == pytest.approx([0.3, 0.7])
    env.step()
    same_settings.step(**{name: FULL[name] for name in own})
    assert same(env.get_weights(), same_settings.get_weights())


@pytest.mark.parametrize("name", ADJUSTABLE)
def test_a_setting_that_the_run_does_not_have_cannot_be_chosen(name):
    with pytest.raises(ValueError, match=f"^{name} is 0 in this run, .* a {name} above 0$"):
        adjusted_settings(TrainingConfig(), {name: 0.1})


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (BYTES, [0, 1], "images are uint8, but must be floating"),
        (VOLUMES.astype(complex), [0, 1], "images are complex128, but must be floating"),
        ("x", [0], "images are <U1, but must be floating"),
        (VOLUMES, [[0], [1, 2]], "labels cannot be converted to an array"),
        (0.02, None, "a learning rate by its name"),
        (None, [1], "both images and labels"),
        (VOLUMES[:, 0], [0, 1], r"images have the shape .* must be \(N, 1, 16, 16, 3\)"),
        (VOLUMES[:0], np.zeros(0, int), "with N from 1 up"),
        *[
            (VOLUMES, labels, "labels must be 2 whole numbers from 0 to 9")
            for labels in ([0, 10], [0, -1], [0.5, 1], [[0, 1]])
        ],
    ],
)
def test_a_batch_that_does_not_fit_is_refused_before_anything_moves(env, images, labels, message):
    for call in (env.step, env.gradients):
        with refused(env, ValueError, message):
            call(images, labels)


@pytest.mark.parametrize(
    "arguments, message",
    [
        *[
            ({"learning_rate": rate}, "^learning_rate is .*, but must be a number from 0 up$")
            for rate in (-0.1, float("nan"), float("inf"), "fast")
        ],
        ({"update": "no"}, "^update is 'no', but must be True or False$"),
        ({"momentum": 1.0}, "^momentum is 1.0, but must be a number from 0 up and below 1$"),
    ],
)
def test_an_invalid_argument_is_refused_before_anything_moves(env, arguments, message):
    with refused(env, ValueError, message):
        env.step(**arguments)


def test_a_batch_of_the_callers_leaves_the_next_one_the_next(env):
    next_loss = env.step(update=False).loss
    images, labels = env.x_train[:6], env.y_train[:6]
    expected = env.step(images, labels, update=False)
    result = env.step(images, labels, learning_rate=0)
    assert (result.iteration, result.batch_size, env.index_in_epoch) == (1, 6, 0)
    assert result.loss == expected.loss
    env.reset()
    assert env.step(learning_rate=0).loss == next_loss
    env.reset()
    assert env.step(*env.next_batch(32)).loss == next_loss


@tensorlayer_slow
def test_a_batch_of_the_callers_may_have_any_of_the_sizes(front_end):
    env = small_environment(front_end, sizes=(0.5, 1.0), iterations=4, batch_size=8)
    for side in (8, 16):
        volumes = np.zeros((2, 1, side, side, 3), np.float32)
        expected = env.step(volumes, [0, 1], update=False)
        assert env.step(volumes, [0, 1]).loss == expected.loss
    with pytest.raises(ValueError, match=r"\(N, 1, 16, 16, 3\) or \(N, 1, 8, 8, 3\) with N"):
        env.step(np.zeros((2, 1, 12, 12, 3)), [0, 1])


def test_the_batch_of_a_failed_iteration_is_still_the_next(env, monkeypatch):
    expected = env.step().loss
    env.reset()

    with monkeypatch.context() as patch, refused(env, KeyboardInterrupt):
        patch.setattr(env, "train_batch", Mock(side_effect=KeyboardInterrupt))
        env.step()
    assert env.step().loss == expected


def test_a_step_does_not_depend_on_what_ran_before_it(env, front_end):
    start = env.snapshot()
    expected, weights = env.step().loss, env.get_weights()
    env.restore(start)
    volumes, labels = batch_at(env.dataset, 0, 0, 0, 32, Augmentation())
    if front_end == "keras":
        env.model.fit(volumes, labels, verbose=0)
    else:
        env.model(volumes, is_train=True)
    env.set_weights(start.weights)
    for variable in env.optimizer.momentums:
        variable.assign(np.zeros(variable.shape))
    env.optimizer.learning_rate = 0.5
    env.optimizer.iterations.assign(7)
    env.optimizer.current.assign([0.5, 0.5])
    assert env.step().loss == expected
    assert same(env.get_weights(), weights)
    assert env.optimizer.iterations.numpy() == 1
