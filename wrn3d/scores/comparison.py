"""Compare two networks on the same volumes."""

from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.scores.measuring import OVERALL, TITLES, Measured, as_json, score_text
from wrn3d.scores.scoring import Interval, interval
from wrn3d.system.checks import require
from wrn3d.system.reporting import markdown_table


class Comparison(NamedTuple):
    """The second network's scores minus the first's, with their 95 % intervals by name.

    The intervals come from the paired bootstrap: both networks are measured on the same resamples.
    `lost` and `won` count the volumes that only the first, and only the second, classifies
    correctly. `p_value` is McNemar's exact test of these counts: how often two equally good
    networks would differ at least as much (McNemar 1947; Dietterich 1998 recommends it). If volumes
    have groups, it counts the groups in which one network is correct more often: a sign test.
    """

    differences: dict[str, float]
    intervals: dict[str, Interval]
    lost: int
    won: int
    p_value: float

    @property
    def as_json(self) -> dict[str, Any]:
        """The comparison by name, with None for NaN, which JSON lacks."""
        differences = {score: as_json(value) for score, value in self.differences.items()}
        intervals = {score: as_json(*ends) for score, ends in self.intervals.items()}
        return self._asdict() | {"differences": differences, "intervals": intervals}


def compare(first: Measured, second: Measured) -> Comparison:
    """Compare two networks' predictions of the same volumes in the same order.

    Raises UsageError if labels, files or groups differ.
    """
    labels, groups = first.predictions.labels, first.predictions.groups
    require(
        np.array_equal(labels, second.predictions.labels)
        and np.array_equal(groups, second.predictions.groups)
        and _files(first) == _files(second),
        "the networks were measured on different volumes: name one data set for both with "
        "--dataset",
    )
    from scipy.stats import binomtest  # which takes a second to import

    rights = [one.predictions.classes == labels for one in (first, second)]
    lost = int(np.count_nonzero(rights[0] & ~rights[1]))
    won = int(np.count_nonzero(rights[1] & ~rights[0]))
    gains = np.bincount(groups, rights[1].astype(float) - rights[0])  # of each group
    better, differing = np.count_nonzero(gains > 0), np.count_nonzero(gains)
    return Comparison(
        {score: second.scores[score] - first.scores[score] for score in OVERALL},
        {score: _interval(first.draws[score], second.draws[score]) for score in OVERALL},
        lost,
        won,
        float(binomtest(better, differing).pvalue) if differing else 1.0,
    )


def _files(result: Measured) -> list[str]:
    listing = result.predictions.listing
    return listing.files.tolist() if listing else []


def _interval(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> Interval:
    """Return the interval of a difference; NaN if all resamples give the same."""
    low, high = interval(second - first)
    return (low, high) if low < high else (np.nan, np.nan)


def comparison_table(first: Measured, second: Measured) -> str:
    """Return what two networks differ in as text: a Markdown table, and McNemar's test."""
    result = compare(first, second)
    rows = []
    for score in OVERALL:
        texts = [
            score_text(score, one.scores[score], one.intervals[score]) for one in (first, second)
        ]
        change = _difference_text(score, result.differences[score], result.intervals[score])
        rows.append([TITLES[score], *texts, change])
    table = markdown_table(["score", "first", "second", "second - first"], rows)
    groups = first.predictions.groups
    test = "McNemar's exact test" if len(set(groups)) == len(groups) else "the sign test of groups"
    return (
        f"{table}\n\nOnly the first is right on {result.lost:,} volumes, only the second on "
        f"{result.won:,}: {test} gives p = {result.p_value:.3g}."
    )


def _difference_text(score: str, difference: float, ends: Interval) -> str:
    """Return a difference of two scores with its interval, such as "+1.20 (-0.50 to +2.90)"."""
    if not isfinite(difference):
        return "undefined"
    first, *others = (
        f"{x:+.3f}" if score == "auc" else f"{100 * x:+.2f}" for x in (difference, *ends)
    )
    return f"{first} ({' to '.join(others) if isfinite(ends[0]) else 'no interval'})"
