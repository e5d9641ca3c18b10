"""The benchmark's picture: a bar for every contender, the machine's limit as a line."""

from benchmarks.contenders import CONTENDERS

OURS, OTHERS, LIMIT = "#1f77b4", "#b8b8b8", "#d62728"
CAPTION = (
    "images/s in training: median, lowest to highest; dashed: the machine's limit,\n"
    "its matmul rate by the lowered network's multiply-adds"
)


def draw(groups, path) -> None:
    """Write a PNG with a row of panels for each case and a column for each precision."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases, precisions = (
        list(dict.fromkeys(names))
        for names in zip(*((group.case, group.precision) for group in groups), strict=True)
    )
    figure, panels = pyplot.subplots(
        len(cases),
        len(precisions),
        squeeze=False,
        sharex="row",  # one scale for both precisions shows what bfloat16 gains
        layout="constrained",
        figsize=(7 * len(precisions), 0.7 + 2.3 * len(cases)),
    )
    for panel in panels.flat:
        panel.set_axis_off()
    for group in groups:
        _bars(panels[cases.index(group.case), precisions.index(group.precision)], group)
    figure.supxlabel(CAPTION, fontsize=9)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


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
