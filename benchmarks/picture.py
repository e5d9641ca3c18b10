"""Draw the ratios of this project's training rates to the others'."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.cases import CASES
from benchmarks.contenders import CONTENDERS, STOCK
from benchmarks.report import OWN, SHARDED, Results, middle_half
from wrn3d.runs.figures import new_figure

COLOURS = {OWN: "#9ecae1", SHARDED: "#1f77b4"}
THICKNESS = 0.38  # of a bar; two stand side by side


def draw(groups: Sequence[Results], path: Path) -> None:
    """Write a PNG with a row of panels for each precision and a column for each opponent."""
    precisions = list(dict.fromkeys(group.precision for group in groups))
    size = (12, 1.2 + sum(0.6 + 0.42 * len(_of(groups, name)) for name in precisions))
    figure = new_figure(layout="constrained", figsize=size)
    panels = figure.subplots(len(precisions), 2, squeeze=False, sharex="col", sharey="row")
    for row, precision in zip(panels, precisions, strict=True):
        chosen = _of(groups, precision)[::-1]  # the first on top
        titles = [CASES[group.case].title for group in chosen]
        for panel, opponent in zip(row, ("the best of PyTorch", "stock Keras"), strict=True):
            stock = opponent == "stock Keras"
            for side, (name, colour) in zip((0.5, -0.5), COLOURS.items(), strict=True):
                _bars(panel, chosen, name, stock, side * THICKNESS, colour)
            panel.axvline(1.0, color="#d62728", linestyle="--", linewidth=1)
            panel.set_title(f"{precision}, to {opponent}", fontsize=10)
            panel.set_yticks(range(len(titles)), titles, fontsize=8)
            panel.set_ylim(-0.6, len(titles) - 0.4)
            panel.tick_params(labelsize=8, labelbottom=True)
            panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("ratio of images/s in training: median of the rounds, middle half", fontsize=9)
    figure.savefig(path, dpi=110)


def _of(groups, precision):
    return [group for group in groups if group.precision == precision]


def _bars(panel, groups, name, stock, shift, colour):
    found = {
        place + shift: ratios
        for place, group in enumerate(groups)
        if (ratios := group.ratios(name, STOCK if stock else group.best_rival))
    }
    if not found:
        return
    medians = [median(ratios) for ratios in found.values()]
    halves = [middle_half(ratios) for ratios in found.values()]
    spread = [
        [abs(half[end] - middle) for half, middle in zip(halves, medians, strict=True)]
        for end in (0, 1)
    ]
    panel.barh(
        list(found),
        medians,
        THICKNESS,
        color=colour,
        label=CONTENDERS[name].title,
        xerr=spread,
        ecolor="#444444",
        capsize=2,
    )
