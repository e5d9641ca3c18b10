"""Divide samples into folds and splits that have all classes and keep groups together."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data.arrays import Labels
from wrn3d.system.checks import require
from wrn3d.system.errors import quoted

TEST_FOLDS, VALIDATION_FOLDS = 5, 8  # a fifth to test, an eighth of the rest (a tenth) to validate


def folds(
    labels: Labels, groups: npt.NDArray[np.int64], count: int, names: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Return the fold of each sample, 0 to `count` - 1, (N,).

    Each fold has nearly the same share of each class, and no group is in two folds. The same labels
    and groups give the same folds. `names` are the classes'. Raises UsageError if a class has fewer
    groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # which takes a second to import

    for label in np.unique(labels):
        found = len(np.unique(groups[labels == label]))
        require(
            found >= count,
            f"the class {quoted(names[label])} is in {found} of the groups (or samples), too few "
            f"for {count} folds: add samples, or choose the splits yourself",
        )
    result = np.zeros(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of groups that are larger than a fold
        parts = StratifiedGroupKFold(count).split(labels, labels, groups)
        for number, (_, rows) in enumerate(parts):
            result[rows] = number
    return result


class Fold(NamedTuple):
    """The fold with a `number`, from 0, of the `total` folds of a cross-validation."""

    number: int
    total: int


def held_out(
    labels: Labels, groups: npt.NDArray[np.int64], fold: Fold, names: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Return which samples are in the fold, (N,); raises as `folds` does."""
    chosen: npt.NDArray[np.bool_] = folds(labels, groups, fold.total, names) == fold.number
    return chosen


def default_splits(
    labels: Labels, groups: npt.NDArray[np.int64], names: Sequence[str]
) -> npt.NDArray[np.str_]:
    """Return the name of each sample's split, (N,): about 70 % train, 10 % validation, 20 % test.

    Raises UsageError as `folds` does.
    """
    splits = np.full(len(labels), "train", "<U10")
    splits[folds(labels, groups, TEST_FOLDS, names) == 0] = "test"
    rest = np.flatnonzero(splits == "train")
    splits[rest[folds(labels[rest], groups[rest], VALIDATION_FOLDS, names) == 0]] = "validation"
    return splits
