"""A comparison as tables, as CSV and JSON, and as one HTML page."""
import base64
import csv
import html
import json
from statistics import mean, stdev

from wrn3d.reporting import markdown_table

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
        size = max(max(comparison.largest.values()) for comparison in apart)
        return (f"within the tolerance of {tolerance:g}: at most {size:.3g} apart; "
                f"{first.first}{seed}")
    return f"{first.first}{seed}"


def values(comparisons):
    """{quantity: {front end: [its value for each seed]}}, those that were measured."""
    found = {name: {front_end: [of(comparison.runs[front_end]) for comparison in comparisons]
                    for front_end in comparisons[0].runs}
             for name, (of, _) in QUANTITIES.items()}
    return {name: sides for name, sides in found.items()
            if all(value is not None for side in sides.values() for value in side)}


def difference_interval(sides):
    """(mean, low, high) of the second side less the first, paired by seed: the 95 % confidence
    interval of Student's t; (difference, None, None) for a single seed."""
    first, second = sides.values()
    differences = [right - left for left, right in zip(first, second, strict=True)]
    middle = mean(differences)
    if len(differences) == 1:
        return middle, None, None
    from scipy.stats import t

    count = len(differences)
    half = t.ppf((1 + CONFIDENCE) / 2, count - 1) * stdev(differences) / count**0.5
    return middle, middle - half, middle + half


def summary_rows(comparisons):
    """(titles, rows) of both sides, with means and standard deviations where there are seeds."""
    found = values(comparisons)
    front_ends = list(comparisons[0].runs)
    several = len(comparisons) > 1
    titles = ["mean ± standard deviation" if several else "", *front_ends,
              f"difference ({CONFIDENCE:.0%} interval)" if several else "difference"]
    rows = []
    for name, sides in found.items():
        text = QUANTITIES[name][1].format
        middle, low, high = difference_interval(sides)
        cells = [text(mean(side)) + (f" ± {text(stdev(side))}" if several else "")
                 for side in sides.values()]
        interval = f" ({text(low)} to {text(high)})" if several else ""
        rows.append([name, *cells, text(middle) + interval])
    return titles, rows


def largest_rows(comparisons):
    """(titles, rows) of the largest differences for each seed."""
    return ["seed", "loss", "logits", "weights", "first difference"], [
        [str(comparison.seed), *(f"{size:.3g}" for size in comparison.largest.values()),
         str(comparison.first or "none")] for comparison in comparisons]


def parameter_rows(comparisons):
    """(titles, rows): each parameter's largest difference at the end over the seeds, the largest
    first."""
    sizes = {name: max(comparison.weights[name] for comparison in comparisons)
             for name in comparisons[0].weights}
    return ["parameter", "largest difference"], [
        [name, f"{size:.3g}"] for name, size in sorted(sizes.items(), key=lambda item: -item[1])]


def text(comparisons) -> str:
    """The tables for the terminal."""
    titles, rows = parameter_rows(comparisons)
    apart = [row for row in rows if float(row[1])]
    parameters = f"weights: all {len(rows)} arrays are equal to the last bit"
    if apart or any(comparison.first for comparison in comparisons):
        left_out = len(rows) - min(len(apart), SHOWN_PARAMETERS)
        parameters = markdown_table(titles, [*apart[:SHOWN_PARAMETERS],
                                             [f"{left_out} others", "in the report"]])
    return "\n\n".join([markdown_table(*summary_rows(comparisons)),
                        markdown_table(*largest_rows(comparisons)), parameters])


def write_iterations(path, comparisons):
    """A line for each seed and iteration, numbers to their last bit."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = [f"{front_end.lower()}_{name}" for front_end in comparisons[0].runs
                 for name in ("loss", "accuracy", "seconds")]
        writer.writerow(["seed", "iteration", "learning_rate", "batch_size", *names])
        for comparison in comparisons:
            for results in zip(*(run.results for run in comparison.runs.values()), strict=True):
                one = results[0]
                writer.writerow([comparison.seed, one.iteration, one.learning_rate, one.batch_size,
                                 *(value for result in results for value
                                   in (result.loss, result.accuracy, result.seconds))])


def write_summary(path, comparisons, said, settings, machine):
    """Everything but the single iterations, as JSON."""
    quantities = {}
    for name, sides in values(comparisons).items():
        middle, low, high = difference_interval(sides)
        quantities[name] = sides | {"difference": middle, "interval": [low, high]}
    summary = {
        "verdict": said, "settings": settings, "machine": machine, "quantities": quantities,
        "seeds": [{"seed": comparison.seed, "first_difference": _first(comparison),
                   "largest_differences": comparison.largest,
                   "weights": comparison.weights} for comparison in comparisons]}
    path.write_text(json.dumps(summary, indent=2, default=str) + "\n", encoding="utf-8")


def _first(comparison):
    return comparison.first and vars(comparison.first)


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TensorLayer and Keras: {verdict}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; color: #1d2530; max-width: 60rem; margin: 0 auto;
  padding: 1rem; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
.verdict {{ padding: .75rem 1rem; border-radius: .4rem; font-weight: 600; background: {colour};
  overflow-wrap: anywhere; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .75rem; text-align: right; border-bottom: 1px solid #d9dee5;
  white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
img {{ width: 100%; height: auto; }}
figure {{ margin: 1rem 0; }} figcaption, footer, .small {{ color: #5a6675; font-size: .875rem; }}
code {{ overflow-wrap: anywhere; }}
@media (max-width: 32rem) {{
  table {{ font-size: .8125rem; }} th, td {{ padding: .3rem .35rem; }}
  td:first-child {{ white-space: normal; overflow-wrap: anywhere; }}
}}
@media (min-width: 50rem) {{
  .figures {{ display: grid; grid-template-columns: 1fr 1fr; column-gap: 1.5rem; }}
}}
</style>
</head>
<body>
<h1>TensorLayer and Keras, side by side</h1>
<p>{title}</p>
<p class="verdict">{verdict}</p>
<div class="scroll">{summary}</div>
<p class="small">{note}</p>
<div class="figures">
{figures}
</div>
<h2>Largest differences</h2>
<div class="scroll">{largest}</div>
<p class="small">The largest absolute difference between the two: of the loss over all iterations,
of the logits of the first test volumes and of the weights at the end.</p>
<h2>By parameter</h2>
<div class="scroll">{parameters}</div>
<h2>Settings</h2>
<p><code>{settings}</code></p>
<footer><p>{machine}</p></footer>
</body>
</html>
"""
NOTE = ("Both sides start from the same weights, see the same batches and compute with the same "
        "operations; each runs in a process of its own, the two iterate in turn. images/s leaves "
        "the first iteration out, which builds the graph; the first step counts from the start of "
        "the process; memory is the most that the process held.")


def write_page(path, comparisons, said, agrees, title, pictures, settings, machine):
    """The report as one file that needs no other; `pictures` are {caption: path of a PNG}."""
    figures = "\n".join(
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(picture.read_bytes()).decode()}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, picture in pictures.items())
    path.write_text(PAGE.format(
        title=html.escape(title), verdict=html.escape(said),
        colour="#d8f0dd" if agrees else "#fbdcd9", summary=_table(*summary_rows(comparisons)),
        note=NOTE, figures=figures, largest=_table(*largest_rows(comparisons)),
        parameters=_table(*parameter_rows(comparisons)),
        settings=html.escape(" ".join(f"{name}={value}" for name, value in settings.items())),
        machine=html.escape(machine)), encoding="utf-8")


def _table(titles, rows):
    def line(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(titles, 'th')}</thead><tbody>\n{body}\n</tbody></table>"
