"""Report comparisons: the verdict, tables, a CSV file and a JSON file."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wrn3d.compare.comparison import Comparison
from wrn3d.system.files import write_atomic
from wrn3d.system.reporting import markdown_table
from wrn3d.system.words import three_digits

SHOWN_PARAMETERS = 10  # on the terminal; the page shows all
CONFIDENCE = 0.95

QUANTITIES = {  # name: (value of a Run, format)
    "loss, last iteration": (lambda run: run.results[-1].loss, "{:z.6f}"),
    "accuracy, last iteration": (lambda run: run.results[-1].accuracy, "{:z.4f}"),
    "test loss": (lambda run: run.evaluation and run.evaluation.loss, "{:z.6f}"),
    "test accuracy": (lambda run: run.evaluation and run.evaluation.accuracy, "{:z.4f}"),
    "images/s, median": (lambda run: run.rate, "{:z.1f}"),
    "first step, seconds": (lambda run: run.first_step_seconds, "{:z.1f}"),
    "peak memory, GiB": (lambda run: run.peak_memory and run.peak_memory / 2**30, "{:z.2f}"),
}

Table = tuple[list[str], list[list[str]]]  # titles, rows
Values = dict[str, list[float]]  # front end: the value for each seed


def agree(comparisons: Sequence[Comparison], tolerance: float) -> bool:
    """Return whether both sides agree with every seed."""
    return all(comparison.agrees(tolerance) for comparison in comparisons)


def verdict(comparisons: Sequence[Comparison], tolerance: float) -> str:
    """Return one line: "identical", or the first difference of the first seed that has one."""
    apart = [comparison for comparison in comparisons if comparison.first]
    if not apart:
        return "identical"
    difference = str(apart[0].first) + (
        f" with seed {apart[0].seed}" if len(comparisons) > 1 else ""
    )
    if agree(comparisons, tolerance):
        size = max(comparison.size for comparison in apart)
        return f"within the tolerance of {tolerance:g}: at most {size:.3g} apart; {difference}"
    return difference


def values(comparisons: Sequence[Comparison]) -> dict[str, Values]:
    """Return {quantity: {front end: [value for each seed]}} for what was measured."""
    measured = {
        name: {
            front_end: [value(comparison.runs[front_end]) for comparison in comparisons]
            for front_end in comparisons[0].runs
        }
        for name, (value, _) in QUANTITIES.items()
    }
    return {
        name: sides
        for name, sides in measured.items()
        if not any(None in side for side in sides.values())
    }


def mean_and_deviation(numbers: Any) -> tuple[float, float]:
    """Return the mean and the standard deviation; a single number's deviation is NaN."""
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        deviation = np.std(numbers, ddof=1) if len(numbers) > 1 else math.nan
        return float(np.mean(numbers)), float(deviation)


def difference_interval(sides: Values) -> tuple[float, float, float]:
    """Return (mean, low, high) of the second side minus the first, paired by seed.

    low and high bound the 95 % confidence interval of Student's t; they are NaN for one seed.
    """
    from scipy.stats import t

    first, second = sides.values()
    with np.errstate(invalid="ignore"):
        differences = np.subtract(second, first)
    mean, deviation = mean_and_deviation(differences)
    count = len(differences)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / count**0.5
    return mean, mean - half, mean + half


def summary_rows(comparisons: Sequence[Comparison]) -> Table:
    """Return the quantities of both sides: means and standard deviations with several seeds."""
    several = len(comparisons) > 1
    titles = [
        "mean ± standard deviation" if several else "",
        *comparisons[0].runs,
        f"difference ({CONFIDENCE:.0%} interval)" if several else "difference",
    ]
    rows = []
    for name, sides in values(comparisons).items():
        text = QUANTITIES[name][1].format
        cells = []
        for side in sides.values():
            mean, deviation = mean_and_deviation(side)
            cells.append(text(mean) + (f" ± {text(deviation)}" if several else ""))
        mean, low, high = difference_interval(sides)
        interval = f" ({three_digits(low)} to {three_digits(high)})" if several else ""
        rows.append([name, *cells, f"{three_digits(mean)}{interval}"])
    return titles, rows


def largest_rows(comparisons: Sequence[Comparison]) -> Table:
    """Return the largest differences with each seed."""
    return ["seed", "loss", "logits", "weights", "first difference"], [
        [
            str(comparison.seed),
            *(f"{size:.3g}" for size in comparison.largest.values()),
            str(comparison.first or "none"),
        ]
        for comparison in comparisons
    ]


def parameter_rows(comparisons: Sequence[Comparison]) -> Table:
    """Return each parameter's largest difference at the end over all seeds, largest first."""
    sizes = {
        name: max(comparison.weights[name] for comparison in comparisons)
        for name in comparisons[0].weights
    }
    return ["parameter", "largest difference"], [
        [name, f"{size:.3g}"] for name, size in sorted(sizes.items(), key=lambda item: -item[1])
    ]


def text(comparisons: Sequence[Comparison]) -> str:
    """Return the tables for the terminal."""
    titles, rows = parameter_rows(comparisons)
    apart = [row for row in rows if float(row[1])]
    if len(apart) > SHOWN_PARAMETERS:
        apart[SHOWN_PARAMETERS:] = [[f"{len(apart) - SHOWN_PARAMETERS} more", "see the report"]]
    parameters = (
        markdown_table(titles, apart)
        if apart
        else f"weights: all {len(rows)} arrays are equal to the last bit"
    )
    tables = summary_rows(comparisons), largest_rows(comparisons)
    return "\n\n".join([*(markdown_table(*table) for table in tables), parameters])


def write_iterations(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Write a CSV line for each seed and iteration, with numbers exact to the last bit."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    fields = ("loss", "accuracy", "seconds")
    names = [f"{front_end.lower()}_{name}" for front_end in comparisons[0].runs for name in fields]
    writer.writerow(["seed", "iteration", "learning_rate", "batch_size", *names])
    for comparison in comparisons:
        for results in zip(*(run.results for run in comparison.runs.values()), strict=True):
            one = results[0]
            settings = comparison.seed, one.iteration, one.learning_rate, one.batch_size
            writer.writerow(
                [*settings, *(getattr(result, name) for result in results for name in fields)]
            )
    write_atomic(path, file.getvalue().encode())


def write_summary(
    path: Path,
    comparisons: Sequence[Comparison],
    verdict: str,
    settings: dict[str, Any],
    machine: dict[str, Any],
) -> None:
    """Write everything except the iterations as JSON; NaN and infinity become strings."""
    quantities: dict[str, Any] = {}
    for name, sides in values(comparisons).items():
        mean, *interval = difference_interval(sides)
        quantities[name] = sides | {"difference": mean}
        if len(comparisons) > 1:
            quantities[name]["interval"] = interval
    summary = {
        "verdict": verdict,
        "settings": settings,
        "machine": machine,
        "quantities": quantities,
        "seeds": [
            {
                "seed": comparison.seed,
                "first_difference": comparison.first and vars(comparison.first),
                "largest_differences": comparison.largest,
                "weights": comparison.weights,
            }
            for comparison in comparisons
        ],
    }
    finite = json.loads(
        json.dumps(summary, default=str), parse_constant=lambda name: str(float(name))
    )
    write_atomic(path, f"{json.dumps(finite, indent=2)}\n".encode())
