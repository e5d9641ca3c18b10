"""Report the results as Markdown tables, readable as plain text."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median, quantiles

from benchmarks.cases import CASES
from benchmarks.contenders import CONTENDERS, MATMUL, STOCK
from benchmarks.turns import Measurement
from wrn3d.system.reporting import markdown_table

OWN, SHARDED, ONNX = "tensorlayer", "tensorlayer-2", "onnx"
EAGER, COMPILED = "torch-2d", "torch-2d-compiled"
LARGE_BATCH = 128  # from this size on a row of memory
HEADINGS = {
    "training": "Training",
    "evaluation": "Evaluation",
    "start": "From the start of a fresh process to the end of its first step",
}
NOTES = """\
Contenders in long-lived processes take turns, every other round in reverse. A rate is the median of
the turns. "A to B" is the median over rounds of the ratio of images/s in a round, with its middle
half, and the number of rounds if one of the two took part in fewer than the others. The program of
PyTorch with the highest rate is the best; those of the others, and on images stock Keras, that
reach less than 0.8 of its rate after 5 rounds (starts: 2) take no more turns. S is the number of
shards of a batch; with S = 2 each has a batch norm of its own (local). Conv2d is in channels_last,
Conv3d in channels_last_3d unless it is called contiguous. "of matmul" is the share of TensorFlow's
matmul rate, by the multiply-adds of the network. The first step counts from the start of the
process, imports included; PyTorch compiles in it, into an empty cache. Memory is the process's
peak, and what of it came after the imports of the libraries' modules that the program uses.
Evaluation of one image is the latency of wrn3d.predict's logits, of more images the rate of
env.predict."""


class Row(list[Measurement]):
    """One contender's measurements in a group, one for each round."""

    @property
    def rate(self) -> float:
        """The median rate in images/s."""
        return median(one.rate for one in self)

    def median_of(self, name: str) -> float:
        """Return the median of a field."""
        return median(getattr(one, name) for one in self)

    def ratios_to(self, other: "Row") -> list[float]:
        """Return the ratios of the rates in the rounds that both took part in."""
        others = {one.round: one.rate for one in other}
        return [one.rate / others[one.round] for one in self if one.round in others]


class Results(dict[str, Row]):
    """{contender: its Row} at a work on a case in a precision."""

    def __init__(self, work: str, case: str, precision: str) -> None:
        super().__init__()
        self.work, self.case, self.precision = work, case, precision
        self.title = f"{CASES[case].title}, {precision}"

    @property
    def best_rival(self) -> str | None:
        """The program of PyTorch with the highest median rate, None without one."""
        rivals = [name for name in self if CONTENDERS[name].is_rival]
        return max(rivals, key=lambda name: self[name].rate, default=None)

    @property
    def rounds(self) -> int:
        """The most rounds of a contender."""
        return max(map(len, self.values()))

    def ratios(self, name: str, other: str | None) -> list[float]:
        """Return the ratios of a contender's rate to another's; [] if one is not measured."""
        if name not in self or other not in self:
            return []
        return self[name].ratios_to(self[other])


def grouped(measurements: Iterable[Measurement]) -> list[Results]:
    """Return the Results of each work, case and precision."""
    groups: dict[tuple[str, ...], Results] = {}
    for one in measurements:
        key = one.work, one.case, one.precision
        groups.setdefault(key, Results(*key)).setdefault(one.contender, Row()).append(one)
    return list(groups.values())


def tables(groups: Sequence[Results]) -> str:
    """Return all tables, each under its heading."""
    works = {work: [one for one in groups if one.work == work] for work in HEADINGS}
    texts = []
    for work, heading in HEADINGS.items():
        if works[work]:
            texts += [f"## {heading}", SUMMARIES[work](works[work])]
    large = [one for one in works["training"] if CASES[one.case].batch_size >= LARGE_BATCH]
    if large:
        texts += ["## Peak of memory in training", memory_table(large)]
    for work in ("training", "evaluation"):
        if works[work]:
            texts += [f"## {HEADINGS[work]}, each contender", *map(detail_table, works[work])]
    return "\n\n".join(texts)


def line(group: Results) -> str:
    """Return the contenders' median rates as a line, or their seconds to the first step."""
    if group.work == "start":
        return "; ".join(
            f"{_name(name)} {row.median_of('seconds'):.1f} s" for name, row in group.items()
        )
    return "; ".join(f"{_name(name)} {row.rate:.1f} images/s" for name, row in group.items())


def training_table(groups: Sequence[Results]) -> str:
    """Return a table of this project's rates and of their ratios, a row for each of `groups`."""
    titles = ["training"]
    titles += ["S = 1, images/s", "S = 2, images/s", "best of PyTorch", "S = 1 to it"]
    titles += ["S = 2 to it", "S = 1 to stock Keras", "S = 2 to it", "S = 1 of matmul", "S = 2"]
    rows = []
    for group in groups:
        best = group.best_rival
        row = [group.title, *(_rate(group, name) for name in (OWN, SHARDED)), _name(best)]
        row += [_ratio(group, name, other) for other in (best, STOCK) for name in (OWN, SHARDED)]
        rows.append(row + [_share(group, name) for name in (OWN, SHARDED)])
    return markdown_table(titles, rows)


def evaluation_table(groups: Sequence[Results]) -> str:
    """Return a table of this project's rates or latencies in evaluation and of their ratios."""
    titles = ["evaluation", "images/s", "ms", "best of PyTorch", "to it", "to ONNX Runtime"]
    rows = []
    for group in groups:
        best = group.best_rival
        milliseconds = f"{1000 * group[OWN].median_of('seconds'):.3g}" if OWN in group else "-"
        row = [group.title, _rate(group, OWN), milliseconds, _name(best)]
        rows.append(row + [_ratio(group, OWN, other) for other in (best, ONNX)])
    return markdown_table(titles, rows)


def start_table(groups: Sequence[Results]) -> str:
    """Return a table of seconds to the first step; ratios are of seconds, so less is better."""
    names = list(dict.fromkeys(name for group in groups for name in group))
    titles = ["start", *map(_name, names), "seconds to eager", "to compiled"]
    rows = []
    for group in groups:
        row = [group.title]
        row += [f"{group[name].median_of('seconds'):.1f} s" for name in names if name in group]
        row += ["-"] * (1 + len(names) - len(row))
        rows.append(row + [_ratio(group, other, OWN) for other in (EAGER, COMPILED)])
    return markdown_table(titles, rows)


def memory_table(groups: Sequence[Results]) -> str:
    """Return a table of peaks beyond the imports and in all, "412 of 1012 MiB"."""
    names = (OWN, SHARDED, EAGER, COMPILED)
    titles = ["beyond the imports, of all", *map(_name, names), "S = 1 to eager", "to compiled"]
    rows = []
    for group in groups:
        sizes = {name: _memory(group[name]) for name in names if name in group}
        row = [group.title]
        for name in names:
            beyond, total = sizes.get(name, (0.0, 0.0))
            row.append(f"{_mebibytes(beyond)} of {_mebibytes(total)} MiB" if total else "-")
        for other in (EAGER, COMPILED):
            (own, _), (theirs, _) = (sizes.get(name, (0.0, 0.0)) for name in (OWN, other))
            row.append(f"{own / theirs:.2f}" if own and theirs else "-")
        rows.append(row)
    return markdown_table(titles, rows)


def detail_table(group: Results) -> str:
    """Return a table with a row for each contender."""
    titles = (group.title, "images/s", "S = 1 to it", "S = 2 to it", "of matmul")
    rows = []
    for name, row in group.items():
        beyond, total = map(_mebibytes, _memory(row))
        ratios = ("-" if own == name else _ratio(group, own, name) for own in (OWN, SHARDED))
        sizes = f"{total} MiB", f"{beyond} MiB"
        rates = _rate(group, name), *ratios, _share(group, name)
        rows.append([_name(name), *rates, *sizes, str(len(row))])
    return markdown_table((*titles, "memory", "beyond imports", "rounds"), rows)


SUMMARIES: Mapping = {
    "training": training_table,
    "evaluation": evaluation_table,
    "start": start_table,
}


def middle_half(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the first and the third quartile."""
    if len(ratios) < 2:
        return ratios[0], ratios[0]
    low, _, high = quantiles(ratios, n=4, method="inclusive")
    return low, high


def _name(name):
    return CONTENDERS[name].title if name else "-"


def _rate(group, name):
    return f"{group[name].rate:.1f}" if name in group else "-"


def _ratio(group, name, other):
    ratios = group.ratios(name, other)
    if not ratios:
        return "-"
    low, high = middle_half(ratios)
    fewer = f", {len(ratios)} rounds" if len(ratios) < group.rounds else ""
    return f"{median(ratios):.2f} ({low:.2f} to {high:.2f}{fewer})"


def _share(group, name):
    ratios = group.ratios(name, MATMUL)
    return f"{median(ratios):.0%}" if ratios else "-"


def _memory(row):
    total = row.median_of("memory_bytes")
    return total - row.median_of("import_memory_bytes"), total


def _mebibytes(size):
    return f"{size / 2**20:.0f}"
