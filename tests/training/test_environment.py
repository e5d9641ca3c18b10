"""CNNEnv of both scripts, as a program outside drives it."""

import warnings

import numpy as np
import pytest

from tests.support.cifar_files import write_cifar10
from tests.support.environments import SCRIPTS, environment_class, small_environment
from tests.support.reference import Reference
from wrn3d import Checkpoint, WideResNetSpec
from wrn3d.data.augmentation import Augmentation
from wrn3d.data.batches import batch_at
from wrn3d.network import ops
from wrn3d.system.errors import DataError

SETTINGS = {
    "dataset": "digits",
    "volume_size": 16,
    "depth": 10,
    "widen_factor": 1,
    "batch_size": 32,
    "learning_rate": 0.05,
}
FULL = SETTINGS | {
    "dropout": 0.3,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "augment": True,
    "shortcut": "projection",
}


@pytest.fixture(scope="module")
def env(front_end):
    """One environment of each front end; `fresh` gives it in its first state."""
    return environment_class(front_end)(**FULL)


@pytest.fixture
def fresh(env):
    env.reset()
    return env


def same(left, right):
    return left.keys() == right.keys() and all(np.array_equal(left[n], right[n]) for n in left)


def test_it_runs_as_the_original_did(tmp_path, front_end):
    write_cifar10(tmp_path, "bin", per_file=40)
    a = environment_class(front_end)(data_dir=tmp_path, depth=10, widen_factor=1)
    a.reset(first=False)
    a.step()
    assert a.x_train.shape == (200, 1, 32, 32, 3) and a.x_test.shape == (40, 1, 32, 32, 3)
    assert a.y_train.shape == (200,) and a.y_test.shape == (40,)
    assert a.mean.shape == (1, 1, 32, 32, 3) and a.std > 0
    assert (a.num_examples, a.index_in_epoch, a.epochs_completed) == (200, 64, 0)
    assert (a.blocks_per_group, a.widening_factor, a.batch_num) == (1, 1, 64)
    assert (a.img_row, a.img_col, a.img_channels, a.nb_classes) == (32, 32, 3, 10)


def test_step_is_one_iteration_with_its_batchs_own_figures(fresh):
    result = fresh.step(learning_rate=0.02)
    assert (result.iteration, fresh.iteration, fresh.index_in_epoch) == (1, 1, 32)
    assert (result.learning_rate, result.batch_size) == (0.02, 32)
    assert np.log(10) * 0.5 < result.loss < np.log(10) * 2
    assert result.accuracy * 32 == int(result.accuracy * 32)
    assert result.images_per_second == 32 / result.seconds
    second = fresh.step()
    assert (second.iteration, second.learning_rate) == (2, 0.05)


def test_another_optimizers_momentum_is_refused(front_end, fresh):
    fresh.step()
    env = small_environment(front_end, shortcut="projection", optimizer="adam")
    before = env.get_weights()
    with pytest.raises(DataError, match="is of a run with 'sgd' and this one has adam, whose"):
        env.restore(fresh.snapshot())
    assert same(env.get_weights(), before)


def test_a_learning_rate_of_zero_moves_no_trained_weight(fresh):
    for _ in range(2):
        fresh.step()
    before = fresh.get_weights()
    fresh.step(learning_rate=0)
    changed = {
        name
        for name, array in fresh.get_weights().items()
        if not np.array_equal(array, before[name])
    }
    assert changed == {name for name in before if "running" in name}


@pytest.mark.parametrize("learning_rate", [-0.1, float("nan"), float("inf"), "fast"])
def test_an_impossible_learning_rate_is_refused(fresh, learning_rate):
    with pytest.raises(ValueError, match="learning_rate is .*, but must be a number from 0 up"):
        fresh.step(learning_rate=learning_rate)
    assert (fresh.iteration, fresh.index_in_epoch) == (0, 0)


def test_a_step_is_the_references(front_end):
    settings = SETTINGS | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05, "batch_size": 8}
    env = environment_class(front_end)(**settings)
    weights = env.get_weights()
    volumes, labels = batch_at(env.dataset, 0, 0, 0, 8)
    reference = Reference(env.spec, weights, volumes, training=True)
    loss = reference.loss_and_backward(labels)
    result = env.step()
    assert result.loss == pytest.approx(loss, rel=1e-5)
    assert result.accuracy == (reference.logits.argmax(axis=1) == labels).mean()
    after = env.get_weights()
    for name, gradient in reference.gradients.items():
        # The first step of Nesterov's momentum, which starts with the gradient. By norm: in
        # float32 an activation next to zero may fall on ReLU's other side.
        expected = -0.05 * 1.9 * (gradient + 0.05 * weights[name].astype(np.float64))
        error = np.linalg.norm(after[name] - weights[name].astype(np.float64) - expected)
        assert error < 0.03 * np.linalg.norm(expected), name
    for name, expected in reference.averages.items():
        np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_graph_is_traced_once(fresh, monkeypatch):
    fresh.step()
    calls, batch_norm_relu = [], ops.batch_norm_relu
    monkeypatch.setattr(
        ops, "batch_norm_relu", lambda *inputs: calls.append(1) or batch_norm_relu(*inputs)
    )
    for rate in (0.1, 0.02, 0.3):
        fresh.step(learning_rate=rate)
    fresh.reset()
    fresh.step()
    assert not calls
    monkeypatch.setattr(fresh, "batch_num", 16)
    fresh.step()
    assert calls  # another batch size does trace, and is counted


def test_reset_gives_the_first_iteration_again(fresh):
    first = [fresh.step().loss for _ in range(3)]
    weights = fresh.get_weights()
    fresh.reset(first=False)
    assert (fresh.iteration, fresh.index_in_epoch, fresh.epochs_completed) == (0, 0, 0)
    assert [fresh.step().loss for _ in range(3)] == first
    assert same(fresh.get_weights(), weights)


def test_next_batch_drops_an_epochs_incomplete_last_batch(fresh):
    seen = []
    for _ in range(3):
        volumes, labels = fresh.next_batch(600)
        seen.append((fresh.epochs_completed, fresh.index_in_epoch))
        assert volumes.shape == (600, 1, 16, 16, 3) and labels.shape == (600,)
    assert seen == [(0, 600), (0, 1200), (1, 600)]


@pytest.mark.parametrize("size", [0, 1501, 2.5, "8", True, None])
def test_a_batch_that_cannot_be_is_refused_before_anything_moves(fresh, size):
    with pytest.raises(ValueError, match=f"batch_size is {size!r}, but "):
        fresh.next_batch(size)
    assert (fresh.index_in_epoch, fresh.epochs_completed) == (0, 0)


def test_an_iteration_that_fails_is_still_to_come(fresh, monkeypatch):
    expected = fresh.step().loss
    fresh.reset()

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fresh, "train_batch", interrupt)
        fresh.step()
    assert (fresh.iteration, fresh.index_in_epoch, fresh.epochs_completed) == (0, 0, 0)
    assert fresh.step().loss == expected


def test_a_step_depends_on_nothing_that_ran_between(fresh, front_end):
    start = fresh.snapshot()
    expected = fresh.step().loss
    fresh.restore(start)
    volumes, labels = batch_at(fresh.dataset, 0, 0, 0, 32, Augmentation())
    if front_end == "keras":
        fresh.model.fit(volumes, labels, verbose=0)
    else:
        fresh.model(volumes, is_train=True)
    fresh.set_weights(start.weights)
    for variable in fresh.optimizer.momentums:
        variable.assign(np.zeros(variable.shape))
    assert fresh.step().loss == expected


def test_branches_from_a_snapshot_repeat_exactly(fresh):
    for _ in range(2):
        fresh.step()
    start = fresh.snapshot()
    ends = []
    for rate in (0.1, 0.01, 0.1):
        fresh.restore(start)
        ends.append(([fresh.step(learning_rate=rate).loss for _ in range(3)], fresh.get_weights()))
    assert ends[0][0] == ends[2][0] and same(ends[0][1], ends[2][1])
    assert ends[0][0] != ends[1][0]
    assert start.iteration == 2  # not touched by what came after


def test_a_saved_run_goes_on_as_if_never_stopped_in_either_front_end(fresh, front_end, tmp_path):
    for _ in range(3):
        fresh.step()
    fresh.save(tmp_path / "run.safetensors")
    expected = [fresh.step().loss for _ in range(3)]
    for other in ("tensorlayer", "keras"):
        env = environment_class(other)(**FULL)
        env.load(tmp_path / "run.safetensors")
        assert (env.iteration, env.index_in_epoch) == (3, 96)
        assert [env.step().loss for _ in range(3)] == expected, other
        assert same(env.get_weights(), fresh.get_weights()), other
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]


def test_weights_alone_load_with_momentum_and_position_at_rest(fresh, tmp_path):
    for _ in range(2):
        fresh.step()
    weights = fresh.get_weights()
    Checkpoint(weights).save(tmp_path / "weights.safetensors")
    fresh.load(tmp_path / "weights.safetensors")
    assert (fresh.iteration, fresh.index_in_epoch) == (0, 0)
    assert same(fresh.get_weights(), weights)
    assert not any(array.any() for array in fresh.snapshot().momentum.values())


def test_weights_are_got_and_set(fresh):
    weights = {name: array + 1 for name, array in fresh.get_weights().items()}
    fresh.set_weights(weights)
    assert same(fresh.get_weights(), weights)


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda weights: weights.pop("bn.bias"), "bn.bias is missing"),
        (lambda weights: weights.update({"conv9": np.zeros(1)}), "conv9 is unexpected"),
        (
            lambda weights: weights.update({"\x1b]0;owned" + "x" * 5000: np.zeros(1)}),
            r"another network: \?\]0;ownedx{180,200}\.\.\. is unexpected$",
        ),
        (
            lambda weights: weights.update({"fc.bias": np.array(["x"] * 10)}),
            "not all arrays of numb",
        ),
        (lambda weights: weights.update({"fc.bias": np.zeros(3)}), r"fc.bias is \(3,\) instead of"),
    ],
)
def test_weights_of_another_network_are_refused_before_anything_changes(fresh, change, reason):
    before = fresh.get_weights()
    weights = {name: array + 1 for name, array in before.items()}
    change(weights)
    with pytest.raises(ValueError, match=reason):
        fresh.set_weights(weights)
    assert same(fresh.get_weights(), before)


def test_evaluation_covers_the_test_split_and_changes_nothing(fresh):
    for _ in range(5):
        fresh.step()
    before = fresh.snapshot()
    result = fresh.evaluate()
    logits = fresh.predict(fresh.x_test).astype(np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(297), fresh.y_test]
    assert result.loss == pytest.approx(losses.mean(), rel=1e-6)
    assert result.accuracy == (logits.argmax(1) == fresh.y_test).mean()
    assert same(fresh.snapshot().weights, before.weights)
    assert fresh.snapshot().iteration == before.iteration


def test_a_misspelt_setting_is_refused_with_those_that_there_are(front_end):
    with pytest.raises(TypeError, match="no setting 'datset', perhaps dataset: they are data"):
        environment_class(front_end)(datset="digits")


def test_restore_refuses_what_is_no_snapshot(fresh):
    with pytest.raises(ValueError, match="restore takes what snapshot returned"):
        fresh.restore(fresh.get_weights())


def test_predict_refuses_other_shapes(fresh):
    with pytest.raises(ValueError, match=r"volumes have the shape .* must be \(N, 1, 16, 16, 3"):
        fresh.predict(np.zeros((2, 16, 16, 3)))
    with pytest.raises(ValueError, match="with N from 1 up"):
        fresh.predict(np.zeros((0, 1, 16, 16, 3)))


def test_the_iteration_is_traced_once(front_end, monkeypatch):
    env = environment_class(front_end)(**SETTINGS)
    traced, dense = [], ops.dense
    monkeypatch.setattr(ops, "dense", lambda *arrays: traced.append(arrays) or dense(*arrays))
    for _ in range(3):
        env.step()
    assert len(traced) == 1


def test_it_learns(front_end):
    env = environment_class(front_end)(**SETTINGS | {"momentum": 0.9, "learning_rate": 0.02})
    losses = [env.step().loss for _ in range(100)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert env.evaluate().accuracy > 0.7


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_trains_and_says_where_it_gains_nothing(front_end, monkeypatch, fast):
    for module in ("training.environment", "network.convolution"):
        monkeypatch.setattr(f"wrn3d.{module}.has_fast_bfloat16", lambda: fast)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        environment = environment_class(front_end)(**SETTINGS, precision="bfloat16")
        loss = environment.step().loss
    said = [str(warning.message) for warning in caught if "bfloat16" in str(warning.message)]
    assert len(said) == (not fast)
    exact = environment_class(front_end)(**SETTINGS).step().loss
    assert loss != exact and loss == pytest.approx(exact, rel=0.02)
    assert {array.dtype for array in environment.get_weights().values()} == {np.dtype(np.float32)}


def test_a_spec_replaces_the_settings_of_the_network(front_end):
    spec = WideResNetSpec(10, 2, shortcut="projection")
    env = environment_class(front_end)(spec=spec, dataset="digits", batch_size=8)
    assert "group1.block0.convdim" in env.get_weights()
    assert (env.spec, env.widening_factor) == (spec, 2)


def test_a_checkpoint_says_which_network_it_is_of(front_end):
    spec = WideResNetSpec(10, 2, dropout=0.1, shortcut="projection")
    config = environment_class(front_end)(spec=spec, dataset="digits").snapshot().config
    assert [config[name] for name in ("depth", "widen_factor", "dropout", "shortcut")] == [
        10,
        2,
        0.1,
        "projection",
    ]


@pytest.mark.parametrize(
    "settings, reason",
    [
        (
            {"spec": WideResNetSpec(10, 1), "depth": 16},
            "spec says what the network is, so leave out d",
        ),
        ({"spec": "WRN-10-1"}, "spec is 'WRN-10-1', but must be a WideResNetSpec"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(front_end, settings, reason):
    with pytest.raises(ValueError, match=reason):
        environment_class(front_end)(dataset="digits", **settings)


def test_a_spec_for_other_data_is_refused(front_end):
    with pytest.raises(ValueError, match="spec is for volumes .* but digits has"):
        environment_class(front_end)(
            spec=WideResNetSpec(input_shape=(1, 28, 28, 1)), dataset="digits"
        )


def test_a_batch_larger_than_the_data_set_is_refused(front_end):
    with pytest.raises(ValueError, match="batch_size is 1501, but digits has only 1,500"):
        environment_class(front_end)(dataset="digits", batch_size=1501)


def test_what_leaves_nothing_of_an_image_is_refused(front_end):
    with pytest.raises(ValueError, match="cutout is 32, which leaves nothing of sides of 32"):
        environment_class(front_end)(dataset="digits", augment=True, cutout=32)


def test_volumes_larger_than_the_memory_are_refused(front_end):
    with pytest.raises(DataError, match="the 1,797 volumes of digits would take more than half"):
        environment_class(front_end)(dataset="digits", volume_size=10_000)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not safetensors",
        b"\xff" * 100,
        (1 << 60).to_bytes(8, "little") + b"{}",
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(fresh, tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="x is no checkpoint that can be read"):
        fresh.load(tmp_path / "x")


def test_a_safetensors_file_of_something_else_is_refused(fresh, tmp_path):
    from safetensors.numpy import save_file

    save_file({"conv0": np.zeros(3)}, tmp_path / "x")
    with pytest.raises(ValueError, match="nothing in it says that this project wrote it"):
        fresh.load(tmp_path / "x")


def test_a_missing_checkpoint_is_refused(fresh, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        fresh.load(tmp_path / "none.safetensors")


def test_weights_that_are_no_dictionary_are_refused(fresh):
    with pytest.raises(ValueError, match="must be a dictionary of arrays, not list"):
        fresh.set_weights(list(fresh.get_weights().values()))


def test_a_checkpoint_keeps_the_values_of_a_transposed_array(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    Checkpoint({"x": array}).save(tmp_path / "x")
    assert np.array_equal(Checkpoint.load(tmp_path / "x").weights["x"], array)


def test_a_place_that_cannot_be_written_is_refused(fresh, tmp_path):
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        fresh.save(tmp_path)
    with pytest.raises(ValueError, match="^/proc/x cannot be written .*: name another place"):
        fresh.save("/proc/x")


def test_a_missing_folder_is_refused(fresh, tmp_path):
    with pytest.raises(FileNotFoundError, match="none is not a folder: create it"):
        fresh.save(tmp_path / "none" / "run.safetensors")


def test_a_checkpoint_of_another_network_is_refused(fresh, tmp_path):
    Checkpoint({"conv0": np.zeros((3, 3, 3, 3, 16), np.float32)}).save(tmp_path / "x")
    with pytest.raises(ValueError, match="weights for WRN-10-1 are of another .* is missing"):
        fresh.load(tmp_path / "x")


def test_evaluation_goes_by_the_average_of_the_weights(front_end):
    env = small_environment(front_end, averaging=0.95, learning_rate=0.1, iterations=15)
    start = env.get_weights()
    expected, seen = dict(start), []
    for iteration in range(1, 16):
        env.step()
        seen.append(env.get_weights())
        if iteration < 5:
            expected = seen[-1]
            assert same(env.snapshot().average, expected)
        elif iteration % 5 == 0:
            kept = min(0.95**5, iteration / (iteration + 50))
            expected = {
                name: kept * array + (1 - kept) * seen[-1][name] for name, array in expected.items()
            }
    average = env.snapshot().average
    for name, array in expected.items():
        np.testing.assert_allclose(average[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
    volumes = env.dataset.normalise(env.dataset.test_volumes[:20])
    found, result = env.predict(volumes), env.evaluate()
    assert same(env.get_weights(), seen[-1])  # training goes on from the last weights
    plain = small_environment(front_end)
    plain.set_weights(average)
    assert np.array_equal(found, plain.predict(volumes)) and result == plain.evaluate()
    with env.averaged():
        assert same(env.get_weights(), average)
        assert same(env.snapshot().weights, seen[-1])  # a run may be stopped in an evaluation
    env.reset()
    assert same(env.snapshot().average, start)
    env.set_weights(average)
    assert np.array_equal(env.predict(volumes), found)


@pytest.mark.parametrize("axes", [(), ("width",), ("depth", "height", "width")])
def test_mirrored_evaluation_is_the_mean_of_all_probabilities(front_end, axes):
    env = small_environment(front_end, flip_axes=axes)
    for _ in range(5):
        env.step()
    views = [env.x_test]
    if "width" in axes:
        views += [view[:, :, :, ::-1] for view in views]
    if "height" in axes:
        views += [view[:, :, ::-1] for view in views]
    logits = [env.predict(volumes).astype(np.float64) for volumes in views]
    mean = sum(np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in logits) / len(views)
    result = env.evaluate(mirror=True)
    assert result.loss == pytest.approx(-np.log(mean[np.arange(297), env.y_test]).mean())
    assert result.accuracy == (mean.argmax(1) == env.y_test).mean()


def test_the_schedule_decides_the_learning_rate(front_end):
    env = small_environment(front_end, iterations=4, schedule="linear", learning_rate=0.4)
    assert [env.step().learning_rate for _ in range(4)] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert env.learning_rate == 0
    env.reset()
    assert env.learning_rate == 0.4


def test_adam_goes_on_in_the_other_front_end_as_if_never_stopped(front_end):
    settings = {"optimizer": "adam", "learning_rate": 1e-3, "averaging": 0.9}
    env = small_environment(front_end, **settings)
    for _ in range(3):
        env.step()
    middle, after = env.snapshot(), [env.step().loss for _ in range(3)]
    assert middle.velocity.keys() == middle.momentum.keys() != set()
    other = small_environment(next(name for name in SCRIPTS if name != front_end), **settings)
    other.restore(middle)
    assert [other.step().loss for _ in range(3)] == after
    assert same(other.snapshot().velocity, env.snapshot().velocity)
    assert same(other.snapshot().average, env.snapshot().average)
    env.restore(middle)
    assert [env.step().loss for _ in range(3)] == after
