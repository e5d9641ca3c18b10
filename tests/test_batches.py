"""What is seen at a position."""
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wrn3d.data.batches import batch_at, crop_and_flip, epoch_order
from wrn3d.randomness import random_words, stream_key

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
        [922565412103824818, 3060981807777448760, 12456518105984673061, 16936707326517405553]]


@SETTINGS
@given(seed=st.integers(0, 99), position=st.integers(0, 10**9), count=st.integers(1, 20),
       split=st.integers(0, 20))
def test_a_samples_crop_depends_on_its_position_alone(seed, position, count, split):
    volumes = np.random.default_rng(0).standard_normal((count, 1, 8, 9, 2)).astype(np.float32)
    split = min(split, count)
    whole = crop_and_flip(volumes, seed, position)
    parts = [crop_and_flip(part, seed, position + start) for start, part in
             ((0, volumes[:split]), (split, volumes[split:])) if len(part)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_crops_are_windows_of_the_reflected_volume_plain_or_mirrored():
    for shape in [(1, 8, 9, 2), (6, 5, 7, 1)]:
        volumes = np.random.default_rng(0).standard_normal((200, *shape))
        margins = [(0, 0) if side == 1 else (4, 4) for side in shape[:3]]
        seen = set()
        for volume, cropped in zip(volumes, crop_and_flip(volumes, 1, 0), strict=True):
            padded = np.pad(volume, [*margins, (0, 0)], mode="reflect")
            windows = np.lib.stride_tricks.sliding_window_view(padded, shape[:3], axis=(0, 1, 2))
            windows = np.moveaxis(windows, 3, -1)
            for mirrored, target in ((False, cropped), (True, cropped[:, :, ::-1])):
                hits = np.argwhere((windows == target).all(axis=(3, 4, 5, 6)))
                seen |= {(mirrored, *hit) for hit in hits.tolist()}
            assert any((windows == target).all(axis=(3, 4, 5, 6)).any()
                       for target in (cropped, cropped[:, :, ::-1]))
        for axis, side in enumerate(shape[:3]):
            assert {hit[axis + 1] for hit in seen} == set(range(9 if side > 1 else 1))
        assert {hit[0] for hit in seen} == {False, True}


def test_batches_are_rows_of_the_normalised_data(digits):
    volumes, labels = batch_at(digits, seed=4, epoch=2, index=100, batch_size=7, augment=False)
    rows = epoch_order(4, 2, 1500)[100:107]
    assert np.array_equal(volumes, digits.normalise(digits.train_volumes)[rows])
    assert np.array_equal(labels, digits.train_labels[rows])
    assert volumes.dtype == np.float32


def test_augmented_batches_are_crops_of_the_plain_ones(digits):
    plain, _ = batch_at(digits, 4, 2, 100, 7, augment=False)
    augmented, _ = batch_at(digits, 4, 2, 100, 7, augment=True)
    assert np.array_equal(augmented, crop_and_flip(plain, 4, 2 * 1500 + 100))
