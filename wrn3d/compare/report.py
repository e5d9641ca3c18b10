"""A comparison as a verdict and tables, as CSV and as JSON."""

import csv
import io
import json
import math

import numpy as np

from wrn3d.system.files import write_atomic
from wrn3d.system.reporting import markdown_table

SHOWN_PARAMETERS = 10  # on the terminal; the page has all
CONFIDENCE = 0.95

QUANTITIES = {  # name: (of a Run, as text)
    "loss, last iteration": (lambda run: run.results[-1].loss, "{:z.6f}"),
    "accuracy, last iteration": (lambda run: run.results[-1].accuracy, "{:z.4f}"),
    "test loss": (lambda run: run.evaluation and run.evaluation.loss, "{:z.6f}"),
    "test accuracy": (lambda run: run.evaluation and run.evaluation.accuracy, "{:z.4f}"),
    "images/s, median": (lambda run: run.rate, "{:z.1f}"),
    "first step, seconds": (lambda run: run.first_step_seconds, "{:z.1f}"),
    "peak memory, GiB": (lambda run: run.peak_memory and run.peak_memory / 2**30, "{:z.2f}"),
}


def verdict(comparisons, tolerance) -> str:
    """One line: identical, or where the first seed that differs first does."""
    apart = [comparison for comparison in comparisons if comparison.first]
    if not apart:
        return "identical"
    first = apart[0]
    seed = f" with seed {first.seed}" if len(comparisons) > 1 else ""
    if all(comparison.agrees(tolerance) for comparison in comparisons):
        size = max(comparison.size for comparison in apart)
        return (
            f"within the tolerance of {tolerance:g}: at most {size:.3g} apart; {first.first}{seed}"
        )
    return f"{first.first}{seed}"


def values(comparisons):
    """{quantity: {front end: [its value for each seed]}}, those that were measured."""
    found = {
        name: {
            front_end: [of(comparison.runs[front_end]) for comparison in comparisons]
            for front_end in comparisons[0].runs
        }
        for name, (of, _) in QUANTITIES.items()
    }
    return {
        name: sides
        for name, sides in found.items()
        if all(value is not None for side in sides.values() for value in side)
    }


def mean_and_deviation(numbers):
    """(mean, standard deviation), the latter NaN for one number."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        deviation = np.std(numbers, ddof=1) if len(numbers) > 1 else math.nan
        return float(np.mean(numbers)), float(deviation)


def difference_interval(sides):
    """(mean, low, high) of the second side less the first, paired by seed: the 95 % confidence
    interval of Student's t; low and high are NaN for a single seed."""
    first, second = sides.values()
    with np.errstate(invalid="ignore"):
        differences = np.subtract(second, first)
    middle, deviation = mean_and_deviation(differences)
    if len(differences) == 1:
        return middle, math.nan, math.nan
    from scipy.stats import t

    count = len(differences)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / count**0.5
    return middle, middle - half, middle + half


def summary_rows(comparisons):
    """(titles, rows) of both sides, with means and standard deviations where there are seeds."""
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
            middle, deviation = mean_and_deviation(side)
            cells.append(text(middle) + (f" ± {text(deviation)}" if several else ""))
        middle, low, high = difference_interval(sides)
        interval = f" ({low:.3g} to {high:.3g})" if several else ""
        rows.append([name, *cells, f"{middle:.3g}{interval}"])
    return titles, rows


def largest_rows(comparisons):
    """(titles, rows) of the largest differences for each seed."""
    return ["seed", "loss", "logits", "weights", "first difference"], [
        [
            str(comparison.seed),
            *(f"{size:.3g}" for size in comparison.largest.values()),
            str(comparison.first or "none"),
        ]
        for comparison in comparisons
    ]


def parameter_rows(comparisons):
    """(titles, rows): each parameter's largest difference at the end over the seeds, the largest
    first."""
    sizes = {
        name: max(comparison.weights[name] for comparison in comparisons)
        for name in comparisons[0].weights
    }
    return ["parameter", "largest difference"], [
        [name, f"{size:.3g}"] for name, size in sorted(sizes.items(), key=lambda item: -item[1])
    ]


def text(comparisons) -> str:
    """The tables for the terminal."""
    titles, rows = parameter_rows(comparisons)
    apart = [row for row in rows if float(row[1])]
    if apart:
        rest = [[f"{len(apart) - SHOWN_PARAMETERS} more", "see the report"]]
        parameters = markdown_table(
            titles, apart[:SHOWN_PARAMETERS] + (rest if len(apart) > SHOWN_PARAMETERS else [])
        )
    else:
        parameters = f"weights: all {len(rows)} arrays are equal to the last bit"
    return "\n\n".join(
        [
            markdown_table(*summary_rows(comparisons)),
            markdown_table(*largest_rows(comparisons)),
            parameters,
        ]
    )


def write_iterations(path, comparisons):
    """A line for each seed and iteration, numbers to their last bit."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    names = [
        f"{front_end.lower()}_{name}"
        for front_end in comparisons[0].runs
        for name in ("loss", "accuracy", "seconds")
    ]
    writer.writerow(["seed", "iteration", "learning_rate", "batch_size", *names])
    for comparison in comparisons:
        for results in zip(*(run.results for run in comparison.runs.values()), strict=True):
            one = results[0]
            writer.writerow(
                [
                    comparison.seed,
                    one.iteration,
                    one.learning_rate,
                    one.batch_size,
                    *(
                        value
                        for result in results
                        for value in (result.loss, result.accuracy, result.seconds)
                    ),
                ]
            )
    write_atomic(path, file.getvalue().encode())


def write_summary(path, comparisons, said, settings, machine):
    """Everything but the single iterations, as JSON; what is no finite number is a string."""
    quantities = {}
    for name, sides in values(comparisons).items():
        middle, low, high = difference_interval(sides)
        quantities[name] = sides | {"difference": middle}
        if len(comparisons) > 1:
            quantities[name]["interval"] = [low, high]
    summary = {
        "verdict": said,
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
    content = json.dumps(_finite(summary), indent=2, default=str, allow_nan=False)
    write_atomic(path, f"{content}\n".encode())


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
