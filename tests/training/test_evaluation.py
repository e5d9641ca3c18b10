"""Scores on a split, against independent computations of them; views and averages."""

import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from tests.training.states import full_state, same
from wrn3d import Dataset
from wrn3d.training.evaluation import Predictions, mean_of, measure, predict_views


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def area(scores, positive):
    """Return how often a positive scores above a negative, half of the ties included."""
    pairs = list(product(scores[positive], scores[~positive]))
    return sum((one > other) + (one == other) / 2 for one, other in pairs) / len(pairs)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_scores(classes):
    rng = np.random.default_rng(classes)
    probabilities = softmax(rng.standard_normal((60, classes)).round(1))  # some of them are tied
    labels = rng.choice(classes, 60, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    result = measure(Predictions(np.log(probabilities), labels))
    answers = probabilities.argmax(axis=1)
    expected = accuracy_score(labels, answers), balanced_accuracy_score(labels, answers)
    assert (result.accuracy, result.balanced_accuracy) == pytest.approx(expected)
    assert result.loss == pytest.approx(log_loss(labels, probabilities))
    probabilities = np.exp(np.log(probabilities))  # rounding may separate equal values
    areas = [area(probabilities[:, label], labels == label) for label in range(classes)]
    assert result.auc == pytest.approx(areas[1] if classes == 2 else np.mean(areas))


def test_the_auc_is_nan_without_a_sample_of_each_class_and_after_divergence():
    result = measure(Predictions(np.log([[0.25, 0.75], [0.5, 0.5]]), np.array([1, 1])))
    assert math.isnan(result.auc) and result.accuracy == result.balanced_accuracy == 0.5
    diverged = measure(Predictions(np.full((4, 2), np.nan), np.array([0, 1, 0, 1])))
    assert math.isnan(diverged.loss) and math.isnan(diverged.auc)


def test_volumes_have_eight_views():
    rng = np.random.default_rng(0)
    volumes = rng.integers(0, 256, (5, 3, 4, 2, 1), np.uint8)
    labels = np.arange(5) % 2
    dataset = Dataset("", "", ("a", "b"), volumes, labels, volumes, labels)
    weights = rng.standard_normal((2, *volumes.shape[1:]))

    def predict(batch):
        return np.tensordot(batch, weights, ([1, 2, 3, 4], [1, 2, 3, 4]))

    views = predict_views(predict, dataset, "test", mirror_axes=("depth", "height", "width"))
    normalised = dataset.normalise(volumes)
    flips = [axes for count in range(4) for axes in combinations((1, 2, 3), count)]
    expected = [softmax(predict(np.flip(normalised, axes))) for axes in flips]
    assert len(views) == len(expected) == 8
    mean = np.exp(mean_of(views).log_probabilities)
    np.testing.assert_allclose(mean, np.mean(expected, axis=0), rtol=1e-6)
    np.testing.assert_allclose(np.exp(views[0].log_probabilities), expected[0], rtol=1e-6)


@pytest.mark.parametrize(
    "mirror, axes, flips",
    [
        (False, ("width",), [()]),
        (True, (), [()]),
        (True, ("depth", "height", "width"), [(), (2,), (3,), (2, 3)]),
    ],
)
def test_evaluation_is_the_mean_over_the_views_of_the_test_split(
    env, monkeypatch, mirror, axes, flips
):
    env.step()
    before, tracked = full_state(env), []
    monkeypatch.setattr(env, "config", replace(env.config, flip_axes=axes))
    result = env.evaluate(mirror=mirror, track=lambda rows: tracked.append(1) or rows)
    views = [env.predict(np.flip(env.x_test, axes)).astype(np.float64) for axes in flips]
    mean = np.mean([softmax(view) for view in views], axis=0)
    assert result.loss == pytest.approx(-np.log(mean[np.arange(297), env.y_test]).mean(), rel=1e-6)
    assert result.accuracy == (mean.argmax(1) == env.y_test).mean()
    assert len(env.predict_views(mirror=mirror)) == len(views)
    assert tracked and same(full_state(env), before)


def test_evaluation_uses_the_ema_of_the_weights(env):
    start, weights = env.get_weights(), []

    def step(average, *shares):
        """Train an iteration for each share that the average keeps; return the expected average."""
        for kept in shares:
            env.step()
            weights.append(env.get_weights())
            if kept is not None:
                average = {
                    name: kept * array + (1 - kept) * weights[-1][name]
                    for name, array in average.items()
                }
        for name, array in env.snapshot().average.items():
            np.testing.assert_allclose(array, average[name], rtol=1e-5, atol=1e-6, err_msg=name)
        return average

    average = step(start, 0, 0, 0, 0)
    assert same(env.snapshot().average, weights[-1])
    for iteration in (5, 10, 15):
        skipped = () if iteration == 5 else (None,) * 4
        average = step(average, *skipped, iteration / (iteration + 50))
    env.restore(replace(env.snapshot(), iteration=199))
    average = step(average, 0.9**5)  # less than 200 / 250

    average = env.snapshot().average
    volumes = env.x_test[:20]
    logits, result = env.predict(volumes), env.evaluate()
    assert same(env.get_weights(), weights[-1])  # training continues from the last weights
    with env.averaged():
        assert same(env.get_weights(), average)
        assert same(env.snapshot().weights, weights[-1])  # a signal may stop an evaluation
    env.set_weights(average)
    assert np.array_equal(env.predict(volumes), logits) and env.evaluate() == result
    env.reset()
    assert same(env.snapshot().average, start)


@pytest.mark.parametrize(
    "method, argument, message",
    [
        ("predict", np.zeros((2, 16, 16, 3)), r"volumes have the shape .* \(N, 1, 16, 16, 3\)"),
        ("predict", np.zeros((0, 1, 16, 16, 3)), "with N from 1 up"),
        ("evaluate", "tests", "^split is 'tests', but must be train, validation or test"),
        ("evaluate", "validation", "^digits has no validation split: set training images as"),
    ],
)
def test_other_shapes_and_splits_are_refused(env, method, argument, message):
    with pytest.raises(ValueError, match=message):
        getattr(env, method)(argument)
