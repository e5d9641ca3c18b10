"""Volumes that occur in two splits are found and named."""

import warnings

import numpy as np
import pytest

from tests.support.environments import small_environment
from wrn3d import Dataset
from wrn3d.data.duplicates import duplicates, warn_of_duplicates


def splits(rng, shape=(2, 3, 3, 1), **changed):
    """Return a data set with 8, 3 and 5 different volumes in its splits, but for those `changed`.

    Equal numbers fill each volume, as zeros fill much of a real one.
    """
    volumes = rng.permutation(256)[:16].astype(np.uint8)
    volumes = volumes[:, None, None, None, None] * np.ones((1, *shape), np.uint8)
    parts = {"train": volumes[:8], "validation": volumes[8:11], "test": volumes[11:]}
    for target, (row, source, source_row) in changed.items():
        parts[target][row] = parts[source][source_row]
    images = {f"{name}_images": part for name, part in parts.items()}
    labels = {f"{name}_labels": np.arange(len(part)) % 2 for name, part in parts.items()}
    return Dataset.from_arrays(**images, **labels, title="toys")


def found(dataset):
    return {split: rows.nonzero()[0].tolist() for split, rows in duplicates(dataset).items()}


def test_a_data_set_without_duplicates_gives_no_warning():
    dataset = splits(np.random.default_rng(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_duplicates(dataset, 1)
    assert found(dataset) == {"train": [], "validation": [], "test": []}


def test_duplicates_of_each_split_are_found_and_named_in_one_warning():
    dataset = splits(
        np.random.default_rng(1), validation=(1, "train", 7), test=(4, "validation", 0)
    )
    assert found(dataset) == {"train": [], "validation": [1], "test": [4]}
    with pytest.warns(UserWarning) as warned:
        warn_of_duplicates(dataset, 1)
    assert [str(one.message) for one in warned] == [
        "1 of the 3 validation volumes and 1 of the 5 test volumes of toys also occur in an "
        "earlier split: their scores are optimistic, and tests have scores without them, too"
    ]


@pytest.mark.parametrize("shape", [(2, 3, 3, 1), (1, 32, 32, 3), (9, 33, 33, 1)])
def test_one_different_voxel_makes_another_volume(shape):
    rng = np.random.default_rng(2)
    dataset = splits(rng, shape, test=(0, "train", 0))
    for _ in range(30):
        assert found(dataset)["test"] == [0]
        place = tuple(rng.integers(0, shape))
        dataset.test_volumes[(0, *place)] ^= 1
        assert found(dataset)["test"] == []
        dataset.test_volumes[(0, *place)] ^= 1


def test_the_warning_names_the_line_that_makes_the_environment(digits):
    """Check this with training images that `validation` sets aside, too."""
    images, labels = digits.train_volumes[:80, :, ::4, ::4].copy(), digits.train_labels[:80] % 2
    images[75] = images[3]
    data = Dataset.from_arrays(images, labels, title="toys")
    with pytest.warns(UserWarning, match="^1 of the 10 validation volumes of toys") as warned:
        small_environment("keras", data=data, validation=10, batch_size=8)
    assert warned[0].filename.endswith("environments.py")  # where `small_environment` makes it
