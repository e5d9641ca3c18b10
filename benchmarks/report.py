"""The results as tables in Markdown, which read as plain text, too."""

from benchmarks.contenders import CONTENDERS
from benchmarks.results import images_per_second
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
    "evaluates",
    "first step",
    "memory",
    "after import",
)
NOTES = """\
images/s: the TensorLayer script's in the first table; the median of the turns' medians, lowest and
highest of single iterations. "to": the ratio to the other's, to the best where there are several;
for first step (seconds from the start of the process) and memory less is better. "of matmul": the
share of the rate of TensorFlow's matmul that it reaches, counting the multiply-adds of the lowered
network. "step to fit": env.step() of the Keras script to model.fit. Memory: the most in training,
of the whole process and beyond what importing the libraries took. Stock Keras has oneDNN as
TensorFlow chooses for the CPU, the others have it on."""


def summary_table(results) -> str:
    """A row for each case and precision: this project against the others, as ratios."""
    float32 = {
        group.case: group.rows["tensorlayer"].rate
        for group in results.groups
        if group.precision == "float32" and "tensorlayer" in group.rows
    }
    return markdown_table(
        SUMMARY_TITLES,
        [
            _summary_row(group, float32.get(group.case) if group.precision != "float32" else None)
            for group in results.groups
            if "tensorlayer" in group.rows
        ],
    )


def detail_tables(results) -> str:
    """A table for each case and precision, a row for each contender."""
    tables = []
    for group in results.groups:
        limit = ""
        if group.limit:
            limit = (
                f" (matmul {group.operations_per_second / 1e9:.0f} GFLOP/s: "
                f"{group.limit:.1f} images/s)"
            )
        lines = [_detail_row(row, group.limit) for row in group.rows.values()]
        tables.append(f"**{group.title}**{limit}\n\n{markdown_table(DETAIL_TITLES, lines)}")
    return "\n\n".join(tables)


def figures_line(turn, figures) -> str:
    """A turn's main figure, for the one who waits."""
    if not figures.iterations:
        return f"{figures.operations_per_second / 1e9:.0f} GFLOP/s"
    return f"{images_per_second(turn.case, figures):.1f} images/s"


def _summary_row(group, float32_rate):
    own, keras, fit, stock = map(group.rows.get, ("tensorlayer", "keras", "keras-fit", "stock"))
    peers = [row for name, row in group.rows.items() if name.startswith("torch")]
    memory = min((row.median_of("peak_memory") for row in peers), default=None)
    return [
        group.title,
        f"{own.rate:.1f}",
        _ratio(own.rate, stock and stock.rate),
        _ratio(own.rate, _best_rate(peers, images_only=False)),
        _ratio(own.rate, _best_rate(peers, images_only=True)),
        _ratio(own.rate, float32_rate),
        _share(own.rate, group.limit),
        _ratio(keras and keras.rate, own.rate),
        _ratio(keras and keras.rate, fit and fit.rate),
        _ratio(own.median_of("first_iteration"), stock and stock.median_of("first_iteration")),
        _ratio(own.median_of("peak_memory"), memory),
    ]


def _best_rate(rows, images_only):
    return max(
        (row.rate for row in rows if CONTENDERS[row.contender].images_only == images_only),
        default=None,
    )


def _detail_row(row, limit):
    peak, imported = row.median_of("peak_memory"), row.median_of("import_memory")
    return [
        CONTENDERS[row.contender].title,
        f"{row.rate:.1f}",
        f"{row.lowest:.1f}",
        f"{row.highest:.1f}",
        _share(row.rate, limit),
        f"{row.median_of('evaluation'):.0f}/s",
        f"{row.median_of('first_iteration'):.1f} s",
        _mebibytes(peak),
        _mebibytes(peak and peak - imported),
    ]


def _ratio(value, reference):
    return f"{value / reference:.2f}x" if value and reference else "-"


def _share(value, limit):
    return f"{value / limit:.0%}" if limit else "-"


def _mebibytes(size):
    return f"{size / 2**20:.0f} MiB" if size else "-"
