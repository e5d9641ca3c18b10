"""Confidence intervals of scores, by the bootstrap (Efron and Tibshirani 1993, chapter 13)."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from wrn3d.training.evaluation import Predictions, measure

RESAMPLES, LEVEL = 1000, 0.95

Interval = tuple[float, float]


def intervals(
    predictions: Predictions,
    scores: Sequence[str],
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, Interval]:
    """Return the 95 % percentile interval of each of EvalResult's `scores`.

    The volumes are drawn anew 1,000 times, with replacement, by the same draws in each call.
    `track` may wrap them, as a progress bar does. Draws that lack a class do not count for the AUC.
    """
    count, rng = len(predictions.labels), np.random.default_rng(0)
    drawn = (rng.integers(count, size=count) for _ in track(range(RESAMPLES)))
    results = [measure(predictions.only(rows), with_auc="auc" in scores) for rows in drawn]
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    found = {}
    for score in scores:
        low, high = np.nanquantile([getattr(result, score) for result in results], ends)
        found[score] = float(low), float(high)
    return found
