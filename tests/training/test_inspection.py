"""Looking inside a run without moving it: losses, gradients, norms; and batches of one's own."""

import numpy as np
import pytest

from tests.support.environments import SCRIPTS, environment_class, small_environment
from tests.support.reference import Reference
from wrn3d.network.variables import model_layers

FULL = {
    "dropout": 0.3,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "augment": True,
    "shortcut": "projection",
    "learning_rate": 0.05,
    "averaging": 0.9,
}


@pytest.fixture(scope="module")
def env(front_end):
    return small_environment(front_end, **FULL)


@pytest.fixture
def fresh(env):
    env.reset()
    return env


def state(env):
    """Everything that decides what comes next."""
    found = env.snapshot()
    arrays = {kind: getattr(found, kind) for kind in ("weights", "momentum", "average")}
    return {
        f"{kind} {name}": array for kind, named in arrays.items() for name, array in named.items()
    } | {
        "position": np.array([found.iteration, found.epochs_completed, found.index_in_epoch]),
        "momentum and weight decay": env.optimizer.current.numpy(),
        "dropout": np.array(
            [
                [layer.shares.numpy(), layer.position.numpy()]
                for layer in model_layers(env.model)
                if hasattr(layer, "shares")
            ]
        ),
    }


def same(left, right):
    return left.keys() == right.keys() and all(np.array_equal(left[n], right[n]) for n in left)


@pytest.fixture(scope="module")
def end_of_epoch(env):
    """A checkpoint at the end of an epoch, and the state after another iteration."""
    env.reset()
    for _ in range(46):
        env.step()
    checkpoint = env.snapshot()
    env.step()
    return checkpoint, state(env)


@pytest.mark.parametrize(
    "look",
    [
        lambda env: env.step(update=False),
        lambda env: env.gradients(),
        lambda env: env.norms(),
        lambda env: env.step(update=False, momentum=0.5, weight_decay=0.1, dropout=0.8),
        lambda env: env.snapshot(),
    ],
)
def test_looking_moves_nothing(env, end_of_epoch, look):
    checkpoint, undisturbed = end_of_epoch
    env.restore(checkpoint)
    env._prepare()
    before = state(env)  # the next batch is the first of another epoch
    look(env)
    assert same(state(env), before)
    looked, taken = env.step(update=False), env.step()
    assert (looked.iteration, looked.loss, looked.accuracy, looked.learning_rate) == (
        taken.iteration,
        taken.loss,
        taken.accuracy,
        taken.learning_rate,
    )
    assert same(state(env), undisturbed)


def test_gradients_are_the_references(front_end):
    env = environment_class(front_end)(
        dataset="digits", depth=10, widen_factor=1, batch_size=8, weight_decay=0.05, momentum=0.9
    )
    volumes, labels = env.next_batch(8)
    reference = Reference(env.spec, env.get_weights(), volumes, training=True)
    reference.loss_and_backward(labels)
    env.reset()
    gradients = env.gradients()
    assert gradients.keys() == reference.gradients.keys()
    for name, expected in reference.gradients.items():
        error = np.linalg.norm(gradients[name] - expected)  # by norm, as in test_environment
        assert error < 0.03 * np.linalg.norm(expected), name
    assert same(env.gradients(volumes, labels), gradients)


def test_gradients_and_norms_are_the_other_front_ends(fresh, front_end):
    other = small_environment(next(name for name in SCRIPTS if name != front_end), **FULL)
    for _ in range(2):
        assert same(fresh.gradients(), other.gradients())
        assert fresh.step(update=False).loss == other.step(update=False).loss
        fresh.step(), other.step()
        assert fresh.norms() == other.norms()


def test_norms_are_those_of_the_parts(fresh):
    gradients = fresh.gradients()
    fresh.step(fresh.x_test[:3], fresh.y_test[:3], update=False)  # whose norms are others
    fresh.step()
    weights, norms = fresh.get_weights(), fresh.norms()
    assert list(norms.weights) == ["conv0", "group0", "group1", "group2", "bn", "fc"]
    for found, arrays in ((norms.weights, weights), (norms.gradients, gradients)):
        for part, norm in found.items():
            squares = sum(
                np.square(array, dtype=np.float64).sum()
                for name, array in arrays.items()
                if name.split(".")[0] == part and "running" not in name
            )
            assert norm == pytest.approx(squares**0.5, rel=1e-5) and norm > 0


def test_there_are_no_gradients_before_the_first(front_end):
    assert np.isnan(list(small_environment(front_end).norms().gradients.values())).all()


def test_a_batch_of_ones_own_leaves_the_next_one_the_next(fresh):
    next_loss = fresh.step(update=False).loss
    images, labels = fresh.dataset.normalise(fresh.dataset.train_volumes[:5]), fresh.y_train[:5]
    looked = fresh.step(images, labels, update=False)
    result = fresh.step(images, labels, learning_rate=0)
    assert (result.iteration, result.batch_size, fresh.index_in_epoch) == (1, 5, 0)
    assert result.loss == looked.loss
    fresh.reset()
    assert fresh.step(learning_rate=0).loss == next_loss
    fresh.reset()
    images, labels = fresh.next_batch(32)  # what `step` would have taken
    assert fresh.step(images, labels).loss == next_loss


def test_an_iteration_has_the_settings_of_its_own_that_it_is_given(fresh, front_end):
    own = {"momentum": 0.5, "weight_decay": 0.01, "dropout": 0.6}
    other = small_environment(front_end, **FULL | own)
    for _ in range(2):
        fresh.step(**own), other.step()
    assert same(fresh.get_weights(), other.get_weights())
    for name in own:  # each has its part in it
        fresh.reset()
        for _ in range(2):
            fresh.step(**{key: value for key, value in own.items() if key != name})
        assert not same(fresh.get_weights(), other.get_weights())
    fresh.reset(), other.reset()
    fresh.step(**own), other.step()
    settings = state(fresh)  # by which Keras's `fit`, for one, would go on
    assert settings["momentum and weight decay"] == pytest.approx([0.9, 5e-4])
    assert np.unique(settings["dropout"][:, 0]) == pytest.approx([0.3, 0.7])
    fresh.step()
    other.step(**{name: FULL[name] for name in own})
    assert same(fresh.get_weights(), other.get_weights())


def test_what_a_run_does_not_have_cannot_be_chosen(front_end):
    plain = small_environment(front_end)
    before = plain.get_weights()
    for name in ("momentum", "weight_decay", "dropout"):
        with pytest.raises(ValueError, match=f"^{name} cannot be chosen .* a {name} above 0$"):
            plain.step(**{name: 0.1})
    with pytest.raises(ValueError, match="update is 'no', but must be True or False"):
        plain.step(update="no")
    assert same(plain.get_weights(), before)


def test_a_snapshot_brings_its_seed_along(fresh):
    fresh.reset(seed=1)
    fresh.step()
    start = fresh.snapshot()
    after = [fresh.step().loss for _ in range(2)]
    fresh.reset(seed=2)
    fresh.restore(start)
    assert [fresh.step().loss for _ in range(2)] == after
    fresh.reset(seed=0)


def test_a_file_leaves_the_seed_to_the_run(fresh, tmp_path):
    fresh.step()
    fresh.save(tmp_path / "one.safetensors")
    fresh.reset(seed=2)
    fresh.load(tmp_path / "one.safetensors")
    assert fresh.config.seed == 2 and fresh.iteration == 1
    fresh.reset(seed=0)


def test_own_batches_may_have_any_of_the_sizes(front_end):
    env = small_environment(front_end, sizes=(0.5, 1.0), iterations=4)
    for side in (8, 16):
        volumes = np.zeros((2, 1, side, side, 3), np.float32)
        looked = env.step(volumes, [0, 1], update=False)
        assert env.step(volumes, [0, 1]).loss == looked.loss
    with pytest.raises(ValueError, match=r"\(N, 1, 16, 16, 3\) or \(N, 1, 8, 8, 3\) with N"):
        env.step(np.zeros((2, 1, 12, 12, 3)), [0, 1])


def test_training_on_some_rows_alone(front_end):
    env = small_environment(front_end, epochs=2)
    whole = env.total, env.mean
    env.use_only(np.arange(64))
    env.reset()
    assert (env.total, env.num_examples) == (2 * 64 // env.batch_num, 64)
    assert {label for _ in range(env.total) for label in env.next_batch(env.batch_num)[1]} == set(
        env._whole.train_labels[:64]
    )
    with pytest.raises(ValueError, match="has only 3 training images"):
        env.use_only([0, 1, 2])
    env.use_only(None)
    assert env.total == whole[0] and np.array_equal(env.mean, whole[1])


@pytest.mark.parametrize(
    "images, labels, said",
    [
        (np.zeros((2, 1, 16, 16, 3), np.uint8), [0, 1], "images are uint8, but must be floating"),
        (
            np.zeros((2, 1, 16, 16, 3), complex),
            [0, 1],
            "images are complex128, but must be floating",
        ),
        (np.zeros((2, 1, 16, 16, 3)), [[0], [1, 2]], "labels cannot be made an array"),
        (0.02, None, "a learning rate by its name"),
        (None, [1], "both images and labels"),
        (np.zeros((2, 16, 16, 3)), [0, 1], r"images have the shape .* must be \(N, 1, 16, 16, 3\)"),
        (np.zeros((0, 1, 16, 16, 3)), np.zeros(0, int), "with N from 1 up"),
        (np.zeros((2, 1, 16, 16, 3)), [0, 10], "labels must be 2 whole numbers from 0 to 9"),
        (np.zeros((2, 1, 16, 16, 3)), [0, -1], "labels must be 2 whole numbers from 0 to 9"),
        (np.zeros((2, 1, 16, 16, 3)), [0.5, 1], "labels must be 2 whole numbers from 0 to 9"),
        (np.zeros((2, 1, 16, 16, 3)), [[0, 1]], "labels must be 2 whole numbers from 0 to 9"),
        ("x", [0], "images are <U1, but must be floating"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_before_anything_moves(fresh, images, labels, said):
    before = state(fresh)
    for call in (fresh.step, fresh.gradients):
        with pytest.raises(ValueError, match=said):
            call(images, labels)
    assert same(state(fresh), before)


def test_a_look_that_fails_moves_nothing(fresh, monkeypatch):
    before, look = state(fresh), fresh.loss_and_gradients

    def interrupt(*arguments):
        look(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fresh, "loss_and_gradients", interrupt)
        fresh.gradients()
    assert same(state(fresh), before)
