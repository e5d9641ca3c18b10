"""Scores against scikit-learn's and formulas; bootstrap intervals against what is known of them."""

import json
from math import isnan, sqrt

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from wrn3d.data.listing import Listing
from wrn3d.scores.comparison import compare, comparison_table
from wrn3d.scores.measuring import OVERALL, Measured, score_table
from wrn3d.scores.scoring import BINS, Scorer, interval, resampled
from wrn3d.system.errors import UsageError
from wrn3d.training.evaluation import Predictions, measure


def scored(count, classes, seed=0, ties=False):
    """Return predictions that are often right, of uneven classes."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(0.4, count) - 1, classes - 1)
    labels[:classes] = np.arange(classes)
    logits = rng.normal(size=(count, classes)) + 1.2 * np.eye(classes)[labels]
    logits = np.round(logits) if ties else logits
    return Predictions(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), labels)


def accurate(count, right, classes=2):
    """Return `count` predictions of which the first `right` are right."""
    labels = np.arange(count) % classes
    predicted = np.where(np.arange(count) < right, labels, (labels + 1) % classes)
    return Predictions(np.log(np.where(np.eye(classes)[predicted] > 0, 0.7, 0.3)), labels)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scores_are_scikit_learns_also_with_weights(classes, ties):
    predictions = scored(300, classes, ties=ties)
    scorer, labels, predicted = (
        Scorer(predictions, classes),
        predictions.labels,
        predictions.classes,
    )
    probabilities = np.exp(predictions.log_probabilities)
    for weights in (np.ones(300), next(iter(resampled(np.arange(300))))):
        options = {"sample_weight": weights}
        found = scorer.overall(weights)
        assert found["accuracy"] == pytest.approx(
            metrics.accuracy_score(labels, predicted, **options)
        )
        assert found["balanced_accuracy"] == pytest.approx(
            metrics.balanced_accuracy_score(labels, predicted, **options)
        )
        areas = [
            metrics.roc_auc_score(labels == label, probabilities[:, label], **options)
            for label in ([1] if classes == 2 else range(classes))
        ]
        assert found["auc"] == pytest.approx(np.mean(areas))
        expected = metrics.precision_recall_fscore_support(
            labels, predicted, labels=range(classes), zero_division=np.nan, **options
        )
        of_classes = scorer.of_classes(weights)
        for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
            assert of_classes[name] == pytest.approx(values, nan_ok=True)


@pytest.mark.parametrize("classes", [2, 5])
def test_scores_without_weights_are_those_of_the_training(classes):
    predictions = scored(200, classes)
    expected, found = measure(predictions), Scorer(predictions, classes).overall(np.ones(200))
    for name in ("accuracy", "balanced_accuracy", "auc"):
        assert found[name] == pytest.approx(getattr(expected, name))


def test_the_calibration_error_is_that_of_its_formula():
    predictions = scored(500, 4)
    confidence = np.exp(predictions.log_probabilities.max(axis=1))
    right = predictions.classes == predictions.labels
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence >= low) & (confidence < low + 1 / BINS)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = Scorer(predictions, 4).overall(np.ones(500))["calibration_error"]
    assert found == pytest.approx(expected)
    sure = accurate(100, 70)  # 70 % right, with 70 % confidence
    assert Scorer(sure, 2).overall(np.ones(100))["calibration_error"] == pytest.approx(0)


def test_what_is_undefined_is_nan():
    predictions = Predictions(np.log([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 0]))
    scorer = Scorer(predictions, 2)
    assert isnan(scorer.overall(np.ones(2))["auc"])
    assert scorer.overall(np.ones(2))["balanced_accuracy"] == 1
    assert np.isnan(scorer.of_classes(np.ones(2))["recall"]).tolist() == [False, True]
    diverged = Predictions(np.full((4, 2), np.nan), np.array([0, 1, 0, 1]))
    assert isnan(Scorer(diverged, 2).overall(np.ones(4))["auc"])


@pytest.mark.parametrize("count, right", [(400, 360), (2000, 1990), (5000, 2500)])
def test_the_interval_of_an_accuracy_is_the_binomial_one(count, right):
    low, high = interval(Measured.of(accurate(count, right), 2).draws["accuracy"])
    share = right / count
    deviation = sqrt(share * (1 - share) / count)
    close = 0.25 * deviation + 0.5 / count  # of an accuracy, a multiple of 1 / count
    assert low == pytest.approx(share - 1.96 * deviation, abs=close)
    assert high == pytest.approx(share + 1.96 * deviation, abs=close)


def test_the_interval_of_an_auc_is_hanleys_and_mcneils():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [150, 30])
    shares = 1 / (1 + np.exp(-(rng.normal(size=180) + 2 * labels - 1)))
    predictions = Predictions(np.log(np.stack([1 - shares, shares], axis=1)), labels)
    found = Measured.of(predictions, 2)
    # An AUC is the share of pairs in the right order; Hanley and McNeil (1982), formula 1.
    area = np.mean(shares[labels == 1, None] > shares[labels == 0])
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + 29 * (q1 - area**2) + 149 * (q2 - area**2)
    low, high = interval(found.draws["auc"])
    assert low < area < high and found.scores["auc"] == pytest.approx(area)
    assert high - low == pytest.approx(2 * 1.96 * sqrt(variance / (150 * 30)), rel=0.3)


def test_groups_are_drawn_as_a_whole():
    """Ten copies of each of 40 volumes say no more than the 40 volumes do."""
    single, labels = accurate(40, 30), np.repeat(np.arange(40) % 2, 10)
    copies = Predictions(np.repeat(single.log_probabilities, 10, axis=0), labels)
    grouped = copies._replace(
        listing=Listing.of(list(map(str, range(400))), [f"p{row // 10}" for row in range(400)])
    )
    results = [Measured.of(one, 2) for one in (single, grouped, copies)]
    for score in ("accuracy", "balanced_accuracy", "auc", "calibration_error"):
        assert results[0].intervals[score] == pytest.approx(results[1].intervals[score])
    widths = [np.ptp(one.intervals["accuracy"]) for one in results]
    assert widths[2] == pytest.approx(widths[0] / sqrt(10), rel=0.2)
    weights = next(iter(resampled(np.array([0, 0, 1, 2, 2]))))
    assert weights[0] == weights[1] and weights[3] == weights[4]


@pytest.mark.parametrize("right", [True, False])
def test_shares_of_all_or_nothing_have_the_exact_interval(right):
    result = Measured.of(accurate(24, 24 * right), 2)
    expected = binomtest(24 * right, 24).proportion_ci()
    assert result.intervals["accuracy"] == pytest.approx((expected.low, expected.high))
    of_class = binomtest(12 * right, 12).proportion_ci()
    for score in ("recall", "precision"):
        assert result.intervals[score][1] == pytest.approx((of_class.low, of_class.high))
    assert np.isnan(result.intervals["balanced_accuracy"]).all()
    names = list(map(str, range(24)))
    listing = Listing.of(names, [f"p{row // 3}" for row in range(24)])
    grouped = Measured.of(accurate(24, 24 * right)._replace(listing=listing), 2)
    expected = binomtest(8 * right, 8).proportion_ci()  # every class is in each of 8 groups
    for ends in (grouped.intervals["accuracy"], grouped.intervals["recall"][0]):
        assert ends == pytest.approx((expected.low, expected.high))
    table = score_table({"test": result})
    assert f"| {100.0 * right:.2f} % (no interval) |" in table
    assert json.dumps(result.by_name("ab"), allow_nan=False)


def test_draws_are_repeated_and_those_that_lack_a_class_do_not_count():
    first, second = (Measured.of(accurate(3, 3), 2).draws["auc"] for _ in range(2))
    assert np.array_equal(first, second, equal_nan=True) and np.isnan(first).any()
    assert interval(first) == (1, 1)
    assert np.isnan(interval(np.full(5, np.nan))).all()


def test_an_undefined_difference_is_said_to_be():
    one = Measured.of(Predictions(np.log([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 0])), 2)
    assert compare(one, one).as_json["differences"]["auc"] is None
    assert json.dumps(compare(one, one).as_json, allow_nan=False)
    [row] = [line for line in comparison_table(one, one).splitlines() if line.startswith("| AUC")]
    assert row.count("undefined") == 3 and "nan" not in row


def test_two_networks_are_compared_in_pairs():
    labels = np.arange(400) % 2
    first, second = accurate(400, 360), accurate(400, 372)
    result = compare(Measured.of(first, 2), Measured.of(second, 2))
    assert (result.lost, result.won) == (0, 12)
    assert result.p_value == pytest.approx(2 * 0.5**12)  # all twelve on one side
    assert result.differences["accuracy"] == pytest.approx(0.03)
    low, high = result.intervals["accuracy"]
    # The differences are 0 or 1: a share of 3 %.
    assert low == pytest.approx(0.03 - 1.96 * sqrt(0.03 * 0.97 / 400), abs=0.005)
    assert high == pytest.approx(0.03 + 1.96 * sqrt(0.03 * 0.97 / 400), abs=0.005)
    same = compare(Measured.of(first, 2), Measured.of(first, 2))
    assert (same.lost, same.won, same.p_value) == (0, 0, 1)
    assert np.isnan([same.intervals[score] for score in OVERALL]).all()
    assert "+0.00 (no interval)" in comparison_table(Measured.of(first, 2), Measured.of(first, 2))
    other = Measured.of(Predictions(first.log_probabilities, 1 - labels), 2)
    names = list(map(str, range(400)))
    listings = [Listing.of(names), Listing.of(names[::-1]), Listing.of(names, ["p"] * 400)]
    listed = [Measured.of(first._replace(listing=one), 2) for one in listings]
    for pair in ((Measured.of(first, 2), other), listed[:2], listed[::2]):
        with pytest.raises(UsageError, match="networks were measured on different volumes: name o"):
            compare(*pair)


def test_groups_are_compared_as_a_whole():
    """Ten patients of ten scans each; the second network is better on those of one patient."""
    listing = Listing.of(list(map(str, range(100))), [f"p{row // 10}" for row in range(100)])
    first, second = (accurate(100, right)._replace(listing=listing) for right in (80, 90))
    results = Measured.of(first, 2), Measured.of(second, 2)
    assert (compare(*results).won, compare(*results).p_value) == (10, 1)  # 2 * 0.5 of one group
    assert "the sign test of groups gives p = 1." in comparison_table(*results)
