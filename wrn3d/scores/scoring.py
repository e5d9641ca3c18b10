"""Scores of predictions, also of resampled ones: the bootstrap (Efron and Tibshirani 1993)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wrn3d.training.evaluation import Predictions

RESAMPLES, LEVEL = 1000, 0.95
BINS = 15  # of the confidence, as in Guo et al. 2017
PRECISION, RECALL, F1 = "precision", "recall", "f1"

Interval = tuple[float, float]
Scores: TypeAlias = dict[str, float]
Weights = npt.NDArray[np.float64]  # how often each volume counts, (N,)


class Scorer:
    """Computes the scores of predictions when each volume counts with a weight.

    `overall` has accuracy, balanced accuracy (the mean recall), AUC (as MedMNIST's evaluator, see
    `evaluation`) and the expected calibration error of Guo et al. 2017 (arXiv:1706.04599, equation
    3). `of_classes` has precision, recall and F1 of each class. A score is NaN where it is
    undefined, such as the AUC without volumes of a class.
    """

    def __init__(self, predictions: Predictions, classes: int) -> None:
        probabilities = np.exp(predictions.log_probabilities)
        self.labels, self.classes = predictions.labels, classes
        self.pairs = predictions.labels * classes + predictions.classes
        self.right = (predictions.classes == predictions.labels).astype(float)
        self.confidence = probabilities.max(axis=1)
        self.bins = confidence_bins(self.confidence)
        chosen = [1] if classes == 2 else range(classes)
        self.curves = [_Curve(predictions.labels == one, probabilities[:, one]) for one in chosen]

    def overall(self, weights: Weights) -> Scores:
        """Return accuracy, balanced accuracy, AUC and calibration error of weighted volumes."""
        total = weights.sum()
        recalls = self.of_classes(weights)[RECALL]
        present = np.bincount(self.labels, weights, self.classes) > 0
        gaps = np.bincount(self.bins, weights * (self.right - self.confidence), BINS)
        return {
            "accuracy": float(weights @ self.right / total),
            "balanced_accuracy": float(recalls[present].mean()),
            "auc": float(np.mean([curve.area(weights) for curve in self.curves])),
            "calibration_error": float(np.abs(gaps).sum() / total),
        }

    @np.errstate(invalid="ignore")  # 0 / 0 is NaN
    def of_classes(self, weights: Weights) -> dict[str, npt.NDArray[np.float64]]:
        """Return {score: its value for each class, (classes,)} of weighted volumes."""
        matrix = np.bincount(self.pairs, weights, self.classes**2).reshape(self.classes, -1)
        hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        return {
            PRECISION: hits / predicted,
            RECALL: hits / true,
            F1: 2 * hits / (true + predicted),
        }


def confidence_bins(confidence: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the bin of each confidence, 0 to BINS - 1, (N,)."""
    known = np.nan_to_num(confidence)  # NaN after divergence
    bins: npt.NDArray[np.int64] = np.minimum((known * BINS).astype(np.int64), BINS - 1)
    return bins


class _Curve:
    """The ROC curve of one class against all others."""

    def __init__(self, is_class: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> None:
        self.order = np.argsort(scores, kind="stable")
        self.is_class = is_class[self.order]
        rising = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, rising[1:] != rising[:-1]])  # of equal scores
        self.defined = bool(np.isfinite(scores).all())

    def area(self, weights: Weights) -> float:
        """Return the area under the curve: the share of pairs in the right order, ties as half."""
        ordered = weights[self.order]
        positive = np.add.reduceat(ordered * self.is_class, self.starts)
        negative = np.add.reduceat(ordered * ~self.is_class, self.starts)
        pairs = positive.sum() * negative.sum()
        if not (self.defined and pairs):
            return np.nan
        below = np.cumsum(negative) - negative
        return float(positive @ (below + negative / 2) / pairs)


def resampled(
    groups: npt.NDArray[np.int64], track: Callable[[Iterable[int]], Iterable[int]] = iter
) -> Iterator[Weights]:
    """Yield how often each volume is drawn, RESAMPLES times, with replacement.

    `groups` has the number of each volume's group, from 0 without gaps: whole groups are drawn, as
    their volumes are not independent (Davison and Hinkley 1997, section 3.8). Each call draws the
    same. `track` may wrap the draws, as a progress bar does.
    """
    rng, count = np.random.default_rng(0), int(groups.max()) + 1
    for _ in track(range(RESAMPLES)):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        yield drawn[groups].astype(float)


def exact_interval(share: float, count: int) -> Interval:
    """Return the exact 95 % interval (Clopper and Pearson 1934) of 0 or all of `count` volumes."""
    bound = ((1 - LEVEL) / 2) ** (1 / count)
    return (bound, 1.0) if share else (0.0, 1 - bound)


@np.errstate(invalid="ignore")
def interval(values: Sequence[float] | npt.NDArray[np.float64]) -> Interval:
    """Return the 95 % percentile interval of a score's resampled values; NaN do not count."""
    known = np.asarray(values)[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
