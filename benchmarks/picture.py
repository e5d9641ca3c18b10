"""The benchmark's picture: bars for every contender, the machine's limit as a line."""

from benchmarks.contenders import CONTENDERS

OURS, OTHERS, LIMIT = "#1f77b4", "#b8b8b8", "#d62728"
CAPTION = (
    "images/s in training: median, lowest to highest; dashed: what the matmul\n"
    "rate of this machine allows, counting the lowered network's multiply-adds"
)


def draw(results, path):
    """Write a PNG to `path`: a row of panels for each case, a column for each precision."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = {(group.case, group.precision): group for group in results.groups}
    cases, precisions = (list(dict.fromkeys(names)) for names in zip(*groups, strict=True))
    figure, panels = pyplot.subplots(
        len(cases),
        len(precisions),
        squeeze=False,
        layout="constrained",
        figsize=(7 * len(precisions), 0.7 + 2.3 * len(cases)),
    )
    for case, line in zip(cases, panels, strict=True):
        # The same scale for both precisions of a case: what one gains over the other shows.
        limit = max(_largest(group) for group in results.groups if group.case == case)
        for precision, panel in zip(precisions, line, strict=True):
            if (case, precision) in groups:
                _bars(panel, groups[case, precision])
                panel.set_xlim(0, 1.03 * limit)
            else:
                panel.set_axis_off()
    figure.supxlabel(CAPTION, fontsize=9)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _largest(group):
    return max(group.limit or 0, *(row.highest for row in group.rows.values()))


def _bars(panel, group):
    rows = list(group.rows.values())[::-1]  # the first on top
    titles = [f"{CONTENDERS[row.contender].title}  {row.rate:.4g}" for row in rows]
    colours = [OURS if title.startswith("wrn3d") else OTHERS for title in titles]
    spread = [[row.rate - row.lowest for row in rows], [row.highest - row.rate for row in rows]]
    panel.barh(
        titles, [row.rate for row in rows], color=colours, xerr=spread, ecolor="#444444", capsize=2
    )
    if group.limit:
        panel.axvline(group.limit, color=LIMIT, linestyle="--", linewidth=1)
    panel.set_title(group.title, fontsize=10)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
