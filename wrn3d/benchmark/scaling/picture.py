"""The predictions' picture: images/s against the number of workers."""


def draw(predicted, counts, path):
    """Write a PNG of {(title, worker, gigabits, synchronised): images/s by `counts`}: a panel for
    each of the first two, a line for each link, dashed where batch norm is local."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys(key[:2] for key in predicted))
    figure, axes = pyplot.subplots(-(-len(panels) // 2), 2, squeeze=False, layout="constrained",
                                   figsize=(11, 4 * -(-len(panels) // 2)))
    for panel, axis in zip(panels, axes.flat, strict=False):
        lines = {key[2:]: rates for key, rates in predicted.items() if key[:2] == panel}
        colours = dict(zip(dict.fromkeys(gigabits for gigabits, _ in lines),
                           ("#d62728", "#ff7f0e", "#1f77b4"), strict=False))
        ideal = next(iter(lines.values()))[0]
        axis.loglog(counts, [count * ideal for count in counts], color="#888888", linewidth=1,
                    label="as many times one worker's")
        for (gigabits, synchronised), rates in lines.items():
            axis.loglog(counts, rates, color=colours[gigabits],
                        linestyle="-" if synchronised else "--",
                        label=f"{gigabits} Gbit/s{'' if synchronised else ', local batch norm'}")
        axis.set_title(f"{panel[0]}: workers with a {panel[1]}", fontsize=10)
        axis.set_xlabel("workers")
        axis.set_ylabel("images/s")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
