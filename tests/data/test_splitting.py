"""Folds and splits: each class in each, groups in one alone."""

import numpy as np
import pytest

from wrn3d.data.splitting import default_splits, folds
from wrn3d.system.errors import UsageError

RECORDED = "000044113322331100112222334444"  # the fold of each sample
NAMES = ("healthy", "ill")


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 120, 400)
    return (rng.random(120) < 0.25).astype(np.int64)[groups], groups


def test_folds_are_stratified_and_keep_groups_together(samples):
    labels, groups = samples
    found = folds(labels, groups, 5, NAMES)
    assert set(found) == set(range(5))
    assert all(len(set(found[groups == group])) == 1 for group in groups)
    for fold in range(5):
        inside = found == fold
        assert abs(labels[inside].mean() - labels.mean()) < 0.05
        assert abs(inside.mean() - 0.2) < 0.03


def test_the_folds_are_those_of_earlier_versions():
    labels, groups = np.arange(30) % 3 % 2, np.arange(30) // 2
    assert "".join(map(str, folds(labels, groups, 5, NAMES))) == RECORDED


def test_a_tenth_validates_and_a_fifth_tests(samples):
    labels, _ = samples
    splits = default_splits(labels, np.arange(400), NAMES)
    counts = [np.count_nonzero(splits == name) for name in ("train", "validation", "test")]
    assert counts == [280, 40, 80]
    for name in ("train", "validation", "test"):
        assert abs(labels[splits == name].mean() - labels.mean()) < 0.02


def test_a_class_with_too_few_groups_is_refused():
    labels, groups = np.array([0] * 20 + [1] * 9), np.array([*range(20), *[20] * 6, 21, 22, 23])
    with pytest.raises(
        UsageError, match=r"the class 'ill' is in 4 of the groups \(or samples\), too few for 5"
    ):
        folds(labels, groups, 5, NAMES)
