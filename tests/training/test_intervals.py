"""Bootstrap intervals, against what is known of a share."""

from math import sqrt

import numpy as np
import pytest

from wrn3d.training.evaluation import Predictions
from wrn3d.training.intervals import intervals


def predictions(count, right, classes=2):
    """Return `count` predictions of which the first `right` are right."""
    labels = np.arange(count) % classes
    predicted = np.where(np.arange(count) < right, labels, (labels + 1) % classes)
    return Predictions(np.log(np.where(np.eye(classes)[predicted] > 0, 0.7, 0.3)), labels)


@pytest.mark.parametrize("count, right", [(400, 360), (2000, 1990), (5000, 2500)])
def test_the_interval_of_an_accuracy_is_the_binomial_one(count, right):
    found = intervals(predictions(count, right), ["accuracy"])
    share = right / count
    deviation = sqrt(share * (1 - share) / count)
    low, high = found["accuracy"]
    close = 0.25 * deviation + 0.5 / count  # of an accuracy, a multiple of 1 / count
    assert low == pytest.approx(share - 1.96 * deviation, abs=close)
    assert high == pytest.approx(share + 1.96 * deviation, abs=close)


def test_each_score_has_an_interval_around_it_and_draws_are_repeated():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [150, 30])
    shares = 1 / (1 + np.exp(-(rng.normal(size=180) + 2 * labels - 1)))
    scored = Predictions(np.log(np.stack([1 - shares, shares], axis=1)), labels)
    found = intervals(scored, ["accuracy", "balanced_accuracy", "auc"])
    assert found == intervals(scored, ["accuracy", "balanced_accuracy", "auc"])
    # An AUC is the share of pairs in the right order; Hanley and McNeil (1982), formula 1.
    area = np.mean(shares[labels == 1, None] > shares[labels == 0])
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + 29 * (q1 - area**2) + 149 * (q2 - area**2)
    low, high = found["auc"]
    assert low < area < high
    assert high - low == pytest.approx(2 * 1.96 * sqrt(variance / (150 * 30)), rel=0.3)
    assert found["balanced_accuracy"][1] - found["balanced_accuracy"][0] > 0.05


def test_one_volume_of_a_class_gives_an_interval_without_the_draws_that_lack_it():
    found = intervals(predictions(3, 3), ["auc"])
    assert found["auc"] == (1, 1)
