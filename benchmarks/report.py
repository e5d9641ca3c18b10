"""Report the results as Markdown tables, readable as plain text, and as a picture."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.cases import CASES
from benchmarks.contenders import CONTENDERS, MATMUL
from benchmarks.turn import Measurement
from wrn3d.runs.figures import new_figure
from wrn3d.system.reporting import markdown_table

SUMMARY_TITLES = (
    "work",
    "images/s",
    "to stock Keras",
    "to PyTorch 3D",
    "to PyTorch 2D",
    "to own float32",
    "of matmul",
    "Keras to TensorLayer",
    "step to fit",
    "first step to stock",
    "memory to PyTorch",
)
DETAIL_TITLES = (
    "contender",
    "images/s",
    "lowest",
    "highest",
    "of matmul",
    "first step",
    "memory",
    "after import",
)
MEMORY = "peak_memory_bytes"
NOTES = """\
images/s: training, the median of the turns' medians (in the first table the TensorLayer script's);
lowest and highest are single iterations. "to": the ratio to another contender, to the best of
several; for the first step (seconds from the start of the process) and for memory less is better.
"of matmul": the share of TensorFlow's matmul rate, by the lowered network's multiply-adds.
"step to fit": env.step() of the Keras script to model.fit. Memory: the process's peak in training;
"after import" is without what importing the libraries took. Stock Keras has oneDNN as TensorFlow
chooses for the CPU, the others have it on."""
OURS, OTHERS, LIMIT = "#1f77b4", "#b8b8b8", "#d62728"
CAPTION = (
    "images/s in training: median, lowest to highest; dashed: the machine's limit,\n"
    "its matmul rate by the lowered network's multiply-adds"
)


class Row(list[Measurement]):
    """One contender's measurements on a case in a precision."""

    def median_of(self, name: str) -> float:
        """Return the median of a field over the turns."""
        return median(getattr(measurement, name) for measurement in self)

    @property
    def rate(self) -> float:
        """Training images/s, the median of the turns' medians."""
        return self.median_of("images_per_second")

    @property
    def spread(self) -> tuple[float, float]:
        """Images/s of the slowest and of the fastest iteration."""
        seconds = [one for measurement in self for one in measurement.iteration_seconds]
        return self[0].batch_size / max(seconds), self[0].batch_size / min(seconds)


class Group(dict[str, Row]):
    """{contender: its Row} of a case in a precision. The matmul has its Row in `matmul`."""

    def __init__(self, case: str, precision: str) -> None:
        super().__init__()
        self.case, self.precision, self.matmul = case, precision, Row()
        self.title = f"{CASES[case].title}, {precision}"

    @property
    def limit(self) -> float | None:
        """Images/s at the matmul's rate, None if that was not measured."""
        return self.matmul.rate if self.matmul else None


def grouped(measurements: Iterable[Measurement]) -> list[Group]:
    """Return a Group for each case and precision with a measured network."""
    groups: dict[tuple[str, str], Group] = {}
    for one in measurements:
        key = one.case, one.precision
        group = groups.setdefault(key, Group(*key))
        row = group.matmul if one.contender == MATMUL else group.setdefault(one.contender, Row())
        row.append(one)
    return [group for group in groups.values() if group]


def summary_table(groups: Sequence[Group]) -> str:
    """Return a table that compares this project with the others, a row for each group."""
    own = [group for group in groups if "tensorlayer" in group]
    float32 = {group.case: group["tensorlayer"] for group in own if group.precision == "float32"}
    return markdown_table(
        SUMMARY_TITLES,
        [
            _summary_row(group, float32.get(group.case) if group.precision != "float32" else None)
            for group in own
        ],
    )


def detail_tables(groups: Sequence[Group]) -> str:
    """Return a table for each group, a row for each contender."""
    tables = []
    for group in groups:
        limit = ""
        if group.limit:
            operations = group.matmul.median_of("operations_per_second")
            limit = f" (matmul {operations / 1e9:.0f} GFLOP/s: {group.limit:.1f} images/s)"
        rows = [_detail_row(name, row, group.limit) for name, row in group.items()]
        tables.append(f"**{group.title}**{limit}\n\n{markdown_table(DETAIL_TITLES, rows)}")
    return "\n\n".join(tables)


def _summary_row(group, float32):
    own, keras, fit, stock = map(group.get, ("tensorlayer", "keras", "keras-fit", "stock"))
    peers = {name: row for name, row in group.items() if name.startswith("torch")}
    volumes, images = (
        max(
            (row for name, row in peers.items() if CONTENDERS[name].images_only == images_only),
            key=lambda row: row.rate,
            default=None,
        )
        for images_only in (False, True)
    )
    smallest = min(peers.values(), key=lambda row: row.median_of(MEMORY), default=None)
    return [
        group.title,
        f"{own.rate:.1f}",
        _ratio(own, stock),
        _ratio(own, volumes),
        _ratio(own, images),
        _ratio(own, float32),
        _share(own.rate, group.limit),
        _ratio(keras, own),
        _ratio(keras, fit),
        _ratio(own, stock, "first_iteration_seconds"),
        _ratio(own, smallest, MEMORY),
    ]


def _detail_row(name, row, limit):
    peak, imported = row.median_of(MEMORY), row.median_of("import_memory_bytes")
    return [
        CONTENDERS[name].title,
        f"{row.rate:.1f}",
        *(f"{rate:.1f}" for rate in row.spread),
        _share(row.rate, limit),
        f"{row.median_of('first_iteration_seconds'):.1f} s",
        _mebibytes(peak),
        _mebibytes(peak and peak - imported),
    ]


def _ratio(row, reference, name="images_per_second"):
    if row and reference and reference.median_of(name):
        return f"{row.median_of(name) / reference.median_of(name):.2f}x"
    return "-"


def _share(value, limit):
    return f"{value / limit:.0%}" if limit else "-"


def _mebibytes(size):
    return f"{size / 2**20:.0f} MiB" if size else "-"


def draw(groups: Sequence[Group], path: Path) -> None:
    """Write a PNG with a row of panels for each case and a column for each precision."""
    cases, precisions = (
        list(dict.fromkeys(names))
        for names in zip(*((group.case, group.precision) for group in groups), strict=True)
    )
    figure = new_figure(layout="constrained", figsize=(7 * len(precisions), 0.7 + 2.3 * len(cases)))
    panels = figure.subplots(
        len(cases),
        len(precisions),
        squeeze=False,
        sharex="row",  # one scale for both precisions shows what bfloat16 gains
    )
    for panel in panels.flat:
        panel.set_axis_off()
    for group in groups:
        _bars(panels[cases.index(group.case), precisions.index(group.precision)], group)
    figure.supxlabel(CAPTION, fontsize=9)
    figure.savefig(path, dpi=110)


def _bars(panel, group):
    panel.set_axis_on()
    names, rows = list(group)[::-1], list(group.values())[::-1]  # the first contender on top
    titles = [
        f"{CONTENDERS[name].title}  {row.rate:.4g}" for name, row in zip(names, rows, strict=True)
    ]
    colours = [OURS if title.startswith("wrn3d") else OTHERS for title in titles]
    spread = [[abs(row.spread[end] - row.rate) for row in rows] for end in (0, 1)]
    panel.barh(
        titles, [row.rate for row in rows], color=colours, xerr=spread, ecolor="#444444", capsize=2
    )
    if group.limit:
        panel.axvline(group.limit, color=LIMIT, linestyle="--", linewidth=1)
    panel.set_title(group.title, fontsize=10)
    panel.tick_params(labelsize=8, labelbottom=True)
    panel.spines[["top", "right"]].set_visible(False)
