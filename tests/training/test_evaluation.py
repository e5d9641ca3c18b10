"""Scores against independent ways to them."""

import math
from itertools import combinations, product

import numpy as np
import pytest

from wrn3d import Dataset
from wrn3d.training.evaluation import Predictions, mean_of, measure, predict_views


def scored(classes, count=60):
    rng = np.random.default_rng(classes)
    logits = rng.standard_normal((count, classes)).round(1)  # with ties
    labels = rng.choice(classes, count, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels


def area(scores, positive):
    """How often a positive one is above a negative one, half of the ties included."""
    pairs = list(product(scores[positive], scores[~positive]))
    return sum((one > other) + (one == other) / 2 for one, other in pairs) / len(pairs)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_scores(classes):
    probabilities, labels = scored(classes)
    found = measure(Predictions(np.log(probabilities), labels))
    assert found.loss == pytest.approx(
        np.mean([-math.log(row[label]) for row, label in zip(probabilities, labels, strict=True)])
    )
    answers = probabilities.argmax(axis=1)
    assert found.accuracy == np.mean(answers == labels)
    shares = [np.mean(answers[labels == label] == label) for label in range(classes)]
    assert found.balanced_accuracy == pytest.approx(np.mean(shares))
    probabilities = np.exp(np.log(probabilities))  # which rounds, and may part what was the same
    areas = [area(probabilities[:, label], labels == label) for label in range(classes)]
    assert found.auc == pytest.approx(areas[1] if classes == 2 else np.mean(areas))


def test_a_class_without_a_sample_has_no_area():
    found = measure(Predictions(np.log([[0.25, 0.75], [0.5, 0.5]]), np.array([1, 1])))
    assert math.isnan(found.auc) and found.accuracy == found.balanced_accuracy == 0.5


def test_a_network_that_diverged_has_scores_that_are_no_numbers():
    found = measure(Predictions(np.full((4, 2), np.nan), np.array([0, 1, 0, 1])))
    assert math.isnan(found.loss) and math.isnan(found.auc)


def test_volumes_are_mirrored_in_eight_ways():
    rng = np.random.default_rng(0)
    volumes = rng.integers(0, 256, (5, 3, 4, 2, 1), np.uint8)
    labels = np.arange(5) % 2
    dataset = Dataset("", "", ("a", "b"), volumes, labels, volumes, labels)
    weights = rng.standard_normal((2, *volumes.shape[1:]))

    def predict(batch):
        return np.tensordot(batch, weights, ([1, 2, 3, 4], [1, 2, 3, 4]))

    views = predict_views(predict, dataset, "test", mirror_axes=("depth", "height", "width"))
    scores = [
        predict(np.flip(dataset.normalise(volumes), flipped))
        for count in range(4)
        for flipped in combinations((1, 2, 3), count)
    ]
    shares = [np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in scores]
    assert len(scores) == len(views) == 8
    np.testing.assert_allclose(
        np.exp(mean_of(views).log_probabilities), np.mean(shares, axis=0), rtol=1e-6
    )
    np.testing.assert_allclose(np.exp(views[0].log_probabilities), shares[0], rtol=1e-6)
