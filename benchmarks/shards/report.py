"""Report the ratios to the baseline as Markdown tables, readable as plain text."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from statistics import median, quantiles

from benchmarks.cases import Case
from benchmarks.shards.ways import Measurement
from wrn3d.system.reporting import markdown_table

Rows = Sequence[Measurement]
NOTES = """\
The baseline is one worker with S = 1; a batch is cut into S shards. Each figure is the median of
the ratios to the baseline in the same round, for images/s with the middle half. Batch norm covers
each shard (local) or the whole batch (synchronised). Each of two workers has half of the cores.
First step: from the start of the process, imports included. Memory: the peak of training, for two
workers their sum. For the last two less is better."""


def tables(measurements: Rows, cases: Mapping[str, Case]) -> str:
    """Return tables of images/s, first step and memory in each precision.

    Each has a row for each way and a column for each case. `cases` are {name: case}.
    """
    texts = []
    for precision, rows in grouped(measurements, "precision").items():
        columns = {cases[name]: those for name, those in grouped(rows, "case").items()}
        titles = [case.title for case in columns]
        for quantity, (in_units, ratio) in QUANTITIES.items():
            baseline = [in_units(case, those) for case, those in columns.items()]
            lines = [["baseline", *baseline]]
            for way in grouped(rows, "way"):
                chosen = [[row for row in those if row.way == way] for those in columns.values()]
                lines.append([way, *(ratio(those) if those else "-" for those in chosen)])
            texts.append(markdown_table([f"{quantity}, {precision}", *titles], lines))
    return "\n\n".join(texts)


def summary(measurements: Rows) -> str:
    """Return the ways' median ratios of images/s as a line."""
    ways = grouped(measurements, "way")
    return "; ".join(f"{way}: {median(map(speed, rows)):.2f}" for way, rows in ways.items())


def grouped(measurements: Rows, field: str) -> dict[str, list[Measurement]]:
    """Return {value of a field: the measurements with it}."""
    groups: dict[str, list[Measurement]] = {}
    for one in measurements:
        groups.setdefault(getattr(one, field), []).append(one)
    return groups


def speed(row: Measurement) -> float:
    """Return images/s as a ratio to the baseline's."""
    return row.baseline_step_seconds / row.step_seconds


def _baseline(name, rows):
    return median(map(attrgetter(f"baseline_{name}"), rows))


def _ratio(name):
    return lambda rows: f"{median(getattr(row, name) / _baseline(name, [row]) for row in rows):.2f}"


def _speeds(rows):
    ratios = [speed(row) for row in rows]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios
    return f"{median(ratios):.2f} ({low:.2f} to {high:.2f})"


# {title: (function of a case and its rows: the baseline's, function of a way's rows: the ratio)}
QUANTITIES = {
    "images/s": (
        lambda case, rows: f"{case.batch_size / _baseline('step_seconds', rows):.1f}",
        _speeds,
    ),
    "first step": (
        lambda _, rows: f"{_baseline('first_step_seconds', rows):.1f} s",
        _ratio("first_step_seconds"),
    ),
    "memory": (
        lambda _, rows: f"{_baseline('memory_bytes', rows) / 2**20:.0f} MiB",
        _ratio("memory_bytes"),
    ),
}
