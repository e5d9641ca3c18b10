"""The benchmark's picture: bars for every contender, the machine's limit as a line."""
from wrn3d.benchmark.cases import CASES
from wrn3d.benchmark.contenders import CONTENDERS

OURS, OTHERS = "#1f77b4", "#8c8c8c"


CAPTION = ("images/s in training: median, lowest to highest; dashed: what the matmul\n"
           "rate of this machine allows, counting the lowered network's multiply-adds")


def draw(results, path):
    """Write a PNG to `path`: a row of panels for each case, a column for each precision."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = {key: (rows, ceiling) for key, rows, ceiling in results.groups()}
    cases = list(dict.fromkeys(case for case, _ in groups))
    precisions = list(dict.fromkeys(precision for _, precision in groups))
    figure, panels = pyplot.subplots(
        len(cases), len(precisions), squeeze=False, layout="constrained",
        figsize=(6.5 * len(precisions), 0.6 + 2.4 * len(cases)))
    for case, line in zip(cases, panels, strict=True):
        # The same scale for both precisions of a case: what one gains over the other shows.
        limit = max(max(row.highest for row in rows.values())
                    for (name, _), (rows, _) in groups.items() if name == case)
        for precision, panel in zip(precisions, line, strict=True):
            panel.set_title(f"{CASES[case].title}, {precision}", fontsize=10)
            if (case, precision) in groups:
                _bars(panel, *groups[case, precision])
                panel.set_xlim(0, 1.05 * max(limit, groups[case, precision][1] or 0))
            else:
                panel.set_axis_off()
    figure.supxlabel(CAPTION, fontsize=9)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _bars(panel, rows, ceiling):
    rows = list(rows.values())[::-1]  # the first on top
    titles = [CONTENDERS[row.contender].title for row in rows]
    colours = [OURS if title.startswith("wrn3d") else OTHERS for title in titles]
    rates = [row.rate for row in rows]
    spread = [[row.rate - row.lowest for row in rows], [row.highest - row.rate for row in rows]]
    panel.barh(titles, rates, color=colours, xerr=spread, ecolor="#444444", capsize=2)
    for number, row in enumerate(rows):
        panel.text(0, number, f"  {row.rate:.4g}", va="center", fontsize=8, color="white",
                   weight="bold")
    panel.axvline(ceiling, color="#d62728", linestyle="--", linewidth=1)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
