"""Compare two networks on the same volumes."""

from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from wrn3d.scores.measuring import OVERALL, TITLES, Measured, as_json, score_text
from wrn3d.scores.scoring import Interval, interval
from wrn3d.system.checks import require
from wrn3d.system.reporting import markdown_table


class Comparison(NamedTuple):
    """The second network's scores minus the first's, with their 95 % intervals by name.

    The intervals come from the paired bootstrap: both networks are measured on the same resamples.
    `lost` and `won` count the volumes that only the first, and only the second, classifies
    correctly. `p_value` is McNemar's exact test of these counts: how often two equally good
    networks would differ at least as much (McNemar 1947; Dietterich 1998 recommends it).
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

    Raises UsageError if the labels differ.
    """
    labels, others = first.predictions.labels, second.predictions.labels
    require(
        np.array_equal(labels, others),
        "the networks were measured on different volumes: name one data set for both with "
        "--dataset",
    )
    from scipy.stats import binomtest  # which takes a second to import

    rights = [one.predictions.classes == labels for one in (first, second)]
    lost = int(np.count_nonzero(rights[0] & ~rights[1]))
    won = int(np.count_nonzero(rights[1] & ~rights[0]))
    differing = lost + won
    return Comparison(
        {score: second.scores[score] - first.scores[score] for score in OVERALL},
        {score: interval(second.draws[score] - first.draws[score]) for score in OVERALL},
        lost,
        won,
        float(binomtest(won, differing).pvalue) if differing else 1.0,
    )


def comparison_table(first: Measured, second: Measured) -> str:
    """Return what two networks differ in as text: a Markdown table, and McNemar's test."""
    result = compare(first, second)
    rows = []
    for score in OVERALL:
        texts = [
            score_text(score, one.scores[score], one.intervals[score]) for one in (first, second)
        ]
        low, high = result.intervals[score]
        difference, *ends = (
            f"{x:+.3f}" if score == "auc" else f"{100 * x:+.2f}"
            for x in (result.differences[score], low, high)
        )
        is_known = isfinite(result.differences[score])
        text = f"{difference} ({' to '.join(ends)})" if is_known else "undefined"
        rows.append([TITLES[score], *texts, text])
    table = markdown_table(["score", "first", "second", "second - first"], rows)
    return (
        f"{table}\n\nOnly the first is right on {result.lost:,} volumes, only the second on "
        f"{result.won:,}: McNemar's exact test gives p = {result.p_value:.3g}."
    )
