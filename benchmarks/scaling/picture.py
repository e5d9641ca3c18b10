"""The predictions' picture: images/s against the number of workers."""


def draw(predicted, counts, path):
    """Write a PNG of {(title, worker, gigabits, way): images/s by `counts`}: a row of panels for
    each title, one for each worker, with a colour for each link and a style for each way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    titles, workers, links, ways = (
        list(dict.fromkeys(values)) for values in zip(*predicted, strict=True)
    )
    colours = dict(zip(links, ("#d62728", "#ff7f0e", "#1f77b4"), strict=False))
    styles = dict(zip(ways, ("-", "--", ":"), strict=False))
    figure, axes = pyplot.subplots(
        len(titles),
        len(workers),
        squeeze=False,
        layout="constrained",
        figsize=(4.3 * len(workers) + 2, 3.8 * len(titles)),
    )
    for (title, worker, link, way), rates in predicted.items():
        axis = axes[titles.index(title), workers.index(worker)]
        axis.loglog(
            counts, rates, color=colours[link], linestyle=styles[way], label=f"{link} Gbit/s, {way}"
        )
        axis.set_title(f"{title}: workers with a {worker}", fontsize=10)
        axis.set_xlabel("workers")
        axis.set_ylabel("images/s")
        axis.grid(alpha=0.3)
    for axis in axes.flat:
        alone = min(line.get_ydata()[0] for line in axis.lines)
        axis.loglog(
            counts,
            [count * alone for count in counts],
            color="#888888",
            linewidth=1,
            label="as many times one worker's",
        )
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside right upper",
        fontsize=9,
        title="link, batch norm",
    )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
