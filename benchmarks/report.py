"""The results as tables in Markdown that read as plain text, too."""

from benchmarks.contenders import CONTENDERS
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
MEMORY = "peak_memory_bytes"
NOTES = """\
images/s: training, the median of the turns' medians (in the first table the TensorLayer script's);
lowest and highest are single iterations. "to": the ratio to another contender, to the best of
several; for the first step (seconds from the start of the process) and for memory less is better.
"of matmul": the share of TensorFlow's matmul rate, by the lowered network's multiply-adds.
"step to fit": env.step() of the Keras script to model.fit. Memory: the process's peak in training;
"after import" is without what importing the libraries took. Stock Keras has oneDNN as TensorFlow
chooses for the CPU, the others have it on."""


def summary_table(groups) -> str:
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


def detail_tables(groups) -> str:
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
        f"{row.median_of('evaluated_per_second'):.0f}/s",
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
