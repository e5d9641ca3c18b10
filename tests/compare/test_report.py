"""Verdicts and tables, from comparisons that are made up."""

import json

import numpy as np
import pytest
from scipy import stats

from wrn3d.compare import report
from wrn3d.compare.comparison import Comparison, Difference, Run
from wrn3d.training.step import StepResult


def comparison(losses, first=None, weights=0.0, seed=0):
    runs = {}
    for name, values in zip(("TensorLayer", "Keras"), losses, strict=True):
        results = [
            StepResult(number, loss, 0.5, 0.1, 32, 0.32) for number, loss in enumerate(values, 1)
        ]
        runs[name] = Run(results, 4.0, 2**30, None)
    return Comparison(seed, runs, first, {"conv0": weights, "bn.bias": 0.0}, 0.0)


def test_the_tolerance_decides_the_verdict():
    same = comparison([[2.0, 1.0], [2.0, 1.0]])
    apart = comparison([[2.0, 1.0], [2.0, 1.25]], Difference(2, "conv0", 0.125, 3), 0.125)
    assert same.agrees(0) and report.verdict([same], 0) == "identical"
    assert not apart.agrees(0) and not apart.agrees(0.2) and apart.agrees(0.25)
    difference = "differs first at iteration 2 in conv0 by 0.125 (and 3 more)"
    assert report.verdict([apart], 0.2) == difference
    within = f"within the tolerance of 0.5: at most 0.25 apart; {difference}"
    assert report.verdict([apart], 0.5) == within
    assert report.verdict([same, apart], 0.2) == f"{difference} with seed 0"
    zeros_of_two_signs = comparison([[2.0], [2.0]], Difference(1, "conv0", 0.0, 0))
    assert not zeros_of_two_signs.agrees(0)
    assert "conv0" in report.text([apart]) and "see the report" not in report.text([apart])


def test_means_and_intervals_are_those_of_scipy():
    pairs = [([1.0], [1.1]), ([1.2], [1.25]), ([0.9], [1.05])]
    several = [comparison(pair, seed=seed) for seed, pair in enumerate(pairs)]
    first, second = np.array(pairs)[:, :, 0].T
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    mean, low, high = report.difference_interval(report.values(several)["loss, last iteration"])
    assert np.allclose([mean, low, high], [np.mean(second - first), *expected])
    row = next(row for row in report.summary_rows(several)[1] if row[0].startswith("loss"))
    assert row[1] == f"{first.mean():.6f} ± {first.std(ddof=1):.6f}"
    assert row[3] == f"0.1 ({expected.low:.3g} to {expected.high:.3g})"
    assert np.isnan(report.difference_interval({"a": [1.0], "b": [2.0]})[1:]).all()


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_summary_is_json_even_after_divergence(tmp_path, seeds):
    diverged = [comparison([[np.nan], [np.inf]], seed=seed) for seed in range(seeds)]
    report.write_summary(tmp_path / "summary.json", diverged, "identical", {}, {})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse)
    assert summary["quantities"]["loss, last iteration"]["TensorLayer"] == ["nan"] * seeds
    assert summary["quantities"]["loss, last iteration"]["Keras"] == ["inf"] * seeds
    assert report.text(diverged)
