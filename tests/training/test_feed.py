"""The batches of a run: their samples, their order, and the data they come from."""

import numpy as np
import pytest

from tests.support.environments import small_environment
from wrn3d import Dataset, TrainingConfig
from wrn3d.data.batches import batch_at
from wrn3d.training.feed import Feed, Position
from wrn3d.training.start import open_dataset


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 6, 8, 3), np.uint8)
    return Dataset.from_arrays(images, np.arange(50) % 3, title="mine")


@pytest.fixture
def feed(dataset):
    return Feed(dataset, TrainingConfig(batch_size=16, validation=10))


def test_the_incomplete_last_batch_of_an_epoch_is_dropped(feed):
    seen = []
    for start in (0, 16, 0):
        volumes, labels = feed.next_rows(16, slice(0, 16), 7, 1.0)
        expected = batch_at(feed.dataset, 7, feed.position.epochs_completed, start, 16)
        assert volumes.shape == (16, 1, 6, 8, 3) and np.array_equal(volumes, expected[0])
        assert np.array_equal(labels, expected[1])
        seen.append((feed.position, feed.epoch_ends))
    assert seen == [(Position(0, 16), False), (Position(0, 32), True), (Position(1, 16), False)]


def test_rows_of_a_batch_move_on_by_the_whole_batch(feed):
    whole, labels = feed.next_rows(16, slice(0, 16), 7, 0.5)
    feed.position = Position()
    rows, own_labels = feed.next_rows(16, slice(4, 10), 7, 0.5)
    assert rows.shape == (6, 1, 3, 4, 3) and np.array_equal(rows, whole[4:10])
    assert np.array_equal(own_labels, labels[4:10]) and feed.position == Position(0, 16)


@pytest.mark.parametrize("size", [0, 1501, 2.5, "8", True, None])
def test_an_impossible_batch_size_is_refused_before_anything_moves(environments, size):
    env = environments("keras")
    with pytest.raises(ValueError, match=f"batch_size is {size!r}, but "):
        env.next_batch(size)
    assert (env.index_in_epoch, env.epochs_completed) == (0, 0)


def test_the_validation_split_is_set_aside_and_the_fingerprint_stays(feed, dataset):
    assert feed.loaded is dataset and feed.num_examples == 40
    assert np.array_equal(feed.dataset.validation_volumes, dataset.train_volumes[40:])


def test_a_run_may_train_on_some_rows_alone():
    env = small_environment("tensorlayer", epochs=2, class_weights=True)
    whole, total, weights = env.dataset, env.total, env.loss_settings
    env.use_only(np.arange(64))
    env.reset()
    assert (env.total, env.num_examples) == (2 * 64 // env.batch_num, 64)
    labels = {label for _ in range(env.total) for label in env.next_batch(env.batch_num)[1]}
    assert labels == set(whole.train_labels[:64])
    assert np.array_equal(env.mean[0], whole.train_volumes[:64].mean(axis=0, dtype=np.float32))
    assert env.loss_settings == weights
    with pytest.raises(ValueError, match="has only 3 training images"):
        env.use_only([0, 1, 2])
    env.use_only(None)
    assert env.total == total and env.dataset is whole


def test_data_of_the_caller_are_resized_as_the_settings_say(dataset):
    assert open_dataset(dataset, TrainingConfig(), ()) is dataset
    resized = open_dataset(dataset, TrainingConfig(volume_size=4), {"volume_size": 4})
    assert resized.volume_shape == (1, 3, 4, 3) and resized.title == "mine"


@pytest.mark.parametrize(
    "data, given, message",
    [
        (np.zeros((9, 8, 8)), {}, "^data is of type ndarray, but must be a wrn3d.Dataset: make "),
        ("digits", {}, "^data is of type str, but must be a wrn3d.Dataset"),
        (None, {"dataset": "digits"}, "^data replaces the data .* name: leave out dataset$"),
        (None, {"data_dir": "x"}, ": leave out data_dir$"),
        (None, {"dataset": "digits", "data_dir": "x"}, ": leave out dataset and data_dir$"),
    ],
)
def test_unsuitable_data_of_the_caller_are_refused(front_end, dataset, data, given, message):
    with pytest.raises(ValueError, match=message):
        small_environment(front_end, data=dataset if data is None else data, **given)
