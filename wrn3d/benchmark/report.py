"""What came of the turns: rows of figures, tables in Markdown, the CSV and the machine."""
import csv
import json
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from statistics import median

from wrn3d import runtime
from wrn3d.benchmark.cases import CASES
from wrn3d.benchmark.contenders import CONTENDERS, Matmul

CSV_COLUMNS = ("round", "case", "batch_size", "precision", "contender", "images_per_second",
               "evaluated_per_second", "first_iteration_seconds", "peak_memory_bytes",
               "import_memory_bytes", "operations_per_second", "iteration_seconds")
INSTRUCTION_SETS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile",
                    "asimd", "sve", "bf16")


@dataclass
class Row:
    """One contender on one case in one precision: the figures of its turns so far."""

    case: str
    precision: str
    contender: str
    turns: list = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Trained images/s, the median over all timed iterations."""
        return self._rate(median)

    @property
    def lowest(self) -> float:
        return self._rate(max)

    @property
    def highest(self) -> float:
        return self._rate(min)

    def median_of(self, name) -> float:
        """The median over the turns of a figure."""
        return median(getattr(figures, name) for figures in self.turns)

    def _rate(self, choose):
        seconds = [value for figures in self.turns for value in figures.iterations]
        return CASES[self.case].batch_size / choose(seconds)


class Results:
    """All rows, in the order in which they were first measured."""

    def __init__(self):
        self.rows = {}

    def add(self, turn, figures):
        key = turn.case, turn.precision, turn.contender
        self.rows.setdefault(key, Row(*key)).turns.append(figures)

    def groups(self):
        """[((case, precision), {contender: row}, the matmul rate in images/s)]."""
        found = {}
        for (case, precision, contender), row in self.rows.items():
            found.setdefault((case, precision), {})[contender] = row
        groups = []
        for (case, precision), rows in found.items():
            ceiling = rows.pop(Matmul.name, None)
            operations = ceiling.median_of("operations_per_second") if ceiling else float("nan")
            if rows:
                groups.append(((case, precision), rows,
                               operations / CASES[case].training_operations))
        return groups


def markdown_table(titles, rows) -> str:
    """Rows of strings as a Markdown table whose columns line up in plain text, too."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]

    def line(cells):
        first, *others = (cell.ljust(width) if number == 0 else cell.rjust(width)
                          for number, (cell, width) in enumerate(zip(cells, widths, strict=True)))
        return f"| {' | '.join([first, *others])} |"

    rule = "|".join("-" * (width + 1) + ("-" if number == 0 else ":")
                    for number, width in enumerate(widths))
    return "\n".join([line(titles), f"|{rule}|", *map(line, rows)])


def detail_tables(results) -> str:
    """A table for each case and precision, a row for each contender."""
    titles = ["contender", "images/s", "lowest", "highest", "of matmul", "evaluates", "first step",
              "memory", "after import"]
    tables = []
    for (case, precision), rows, ceiling in results.groups():
        lines = [[CONTENDERS[name].title, f"{row.rate:.1f}", f"{row.lowest:.1f}",
                  f"{row.highest:.1f}", f"{row.rate / ceiling:.0%}",
                  f"{row.median_of('evaluation'):.0f}/s",
                  f"{row.median_of('first_iteration'):.1f} s",
                  f"{row.median_of('peak_memory') / 2**20:.0f} MiB",
                  f"{(row.median_of('peak_memory') - row.median_of('import_memory')) / 2**20:.0f}"
                  " MiB"] for name, row in rows.items()]
        rate = ceiling * CASES[case].training_operations / 1e9
        tables.append(f"**{CASES[case].title}, {precision}** (matmul {rate:.0f} GFLOP/s: "
                      f"{ceiling:.1f} images/s)\n\n{markdown_table(titles, lines)}")
    return "\n\n".join(tables)


def summary_table(results) -> str:
    """A row for each case and precision: this project against the others, as ratios."""
    titles = ["work", "images/s", "stock Keras", "PyTorch 3D", "PyTorch 2D", "own float32",
              "of matmul", "Keras/TL", "step/fit", "first step", "memory"]
    own_float32 = {case: rows["tensorlayer"].rate for (case, precision), rows, _
                   in results.groups() if precision == "float32" and "tensorlayer" in rows}
    lines = []
    for (case, precision), rows, ceiling in results.groups():
        own = rows.get("tensorlayer")
        if not own:
            continue
        torch = [rows[name] for name in rows if name.startswith("torch")]
        volumes = [row.rate for row in torch if not CONTENDERS[row.contender].images_only]
        images = [row.rate for row in torch if CONTENDERS[row.contender].images_only]
        keras, stock, fit = (rows.get(name) for name in ("keras", "stock", "keras-fit"))
        memory = min((row.median_of("peak_memory") for row in torch), default=0)
        lines.append([
            f"{CASES[case].title}, {precision}", f"{own.rate:.1f}",
            _ratio(own.rate, stock and stock.rate), _ratio(own.rate, max(volumes, default=0)),
            _ratio(own.rate, max(images, default=0)),
            _ratio(own.rate, precision != "float32" and own_float32.get(case)),
            f"{own.rate / ceiling:.0%}", _ratio(keras and keras.rate, own.rate),
            _ratio(keras and keras.rate, fit and fit.rate),
            _ratio(own.median_of("first_iteration"), stock and stock.median_of("first_iteration")),
            _ratio(own.median_of("peak_memory"), memory)])
    return markdown_table(titles, lines)


def _ratio(value, reference):
    return f"{value / reference:.2f}x" if value and reference else "-"


def figures_line(turn, figures) -> str:
    """A turn's main figure, for the one who waits."""
    if not figures.iterations:
        return f"{figures.operations_per_second / 1e9:.0f} GFLOP/s"
    return f"{CASES[turn.case].batch_size / median(figures.iterations):.1f} images/s"


def append_csv(path, round_number, turn, figures):
    """Add a turn's raw figures to the file at `path`, which begins with its column names."""
    case = CASES[turn.case]
    rate = case.batch_size / median(figures.iterations) if figures.iterations else 0
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not file.tell():
            writer.writerow(CSV_COLUMNS)
        writer.writerow([round_number, turn.case, case.batch_size, turn.precision, turn.contender,
                         rate, figures.evaluation, figures.first_iteration, figures.peak_memory,
                         figures.import_memory, figures.operations_per_second,
                         " ".join(f"{value:.6f}" for value in figures.iterations)])


def machine() -> dict:
    """What the figures were measured on."""
    flags = runtime.cpu_flags()
    names = ("tensorflow-cpu", "tensorflow", "keras", "tensorlayer", "numpy", "torch")
    return {"cpu": runtime.cpu_name(), "cores": os.cpu_count(),
            "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
            "memory_bytes": runtime.total_memory(), "system": platform.platform(),
            "versions": {"python": platform.python_version(), **_versions(names)}}


def machine_line(found) -> str:
    """The machine in a sentence."""
    memory = f", {found['memory_bytes'] / 2**30:.0f} GiB" if found["memory_bytes"] else ""
    sets = f" ({', '.join(found['instruction_sets'])})" if found["instruction_sets"] else ""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"{found['cores']} cores of {found['cpu']}{sets}{memory}; {versions}"


def write_machine(path, found):
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _versions(names):
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
