"""Which samples a run sees at a position."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wrn3d.data.augmentation import Augmentation
from wrn3d.data.batches import batch_at, epoch_order
from wrn3d.data.resizing import resize
from wrn3d.system.randomness import random_words, stream_key

SETTINGS = settings(max_examples=50, deadline=None, derandomize=True)


@SETTINGS
@given(seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10_000), count=st.integers(1, 3000))
def test_an_epoch_visits_every_sample_once(seed, epoch, count):
    assert np.array_equal(np.sort(epoch_order(seed, epoch, count)), np.arange(count))


def test_orders_differ_between_epochs_and_seeds_and_repeat():
    assert np.array_equal(epoch_order(3, 5, 1000), epoch_order(3, 5, 1000))
    assert not np.array_equal(epoch_order(3, 5, 1000), epoch_order(3, 6, 1000))
    assert not np.array_equal(epoch_order(3, 5, 1000), epoch_order(4, 5, 1000))


def test_the_order_is_that_of_the_first_release():
    # A run of today is replayed by any later version: these numbers never change.
    assert epoch_order(0, 0, 10).tolist() == [9, 3, 6, 0, 4, 2, 1, 8, 5, 7]
    assert stream_key(0, "crop and flip") == 1933243057612812619
    assert random_words(7, "crop and flip", 10**6, 1).tolist() == [
        [922565412103824818, 3060981807777448760, 12456518105984673061, 16936707326517405553]
    ]


def test_batches_are_rows_of_the_normalised_data(digits):
    volumes, labels = batch_at(digits, seed=4, epoch=2, index=100, batch_size=7)
    rows = epoch_order(4, 2, 1500)[100:107]
    assert np.array_equal(volumes, digits.normalise(digits.train_volumes)[rows])
    assert np.array_equal(labels, digits.train_labels[rows])
    assert volumes.dtype == np.float32


def test_augmented_batches_are_made_of_the_plain_ones(digits):
    plain, _ = batch_at(digits, 4, 2, 100, 7)
    augmentation = Augmentation(cutout=8)
    augmented = augmentation(plain, 4, 2, 100, epoch_order(4, 2, 1500)[100:107], 1500)
    assert np.array_equal(batch_at(digits, 4, 2, 100, 7, augmentation)[0], augmented)
    assert np.array_equal(
        batch_at(digits, 4, 2, 100, 7, augmentation, 0.625)[0], resize(augmented, 20)
    )
