"""The predictions' picture: images/s by the number of workers."""

COLOURS, STYLES = ("#d62728", "#ff7f0e", "#1f77b4"), ("-", "--", ":")


def draw(rates, counts, path) -> None:
    """Write a PNG of {(network, kind of worker, Gbit/s, way): images/s for each of `counts`}.

    Networks are rows of panels and kinds of workers columns, links colours and ways line styles.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    networks, workers, links, ways = (
        list(dict.fromkeys(values)) for values in zip(*rates, strict=True)
    )
    figure, axes = pyplot.subplots(
        len(networks),
        len(workers),
        squeeze=False,
        layout="constrained",
        figsize=(4.3 * len(workers) + 2, 3.8 * len(networks)),
    )
    for (network, worker, link, way), line in rates.items():
        axis = axes[networks.index(network), workers.index(worker)]
        style = {"color": COLOURS[links.index(link)], "linestyle": STYLES[ways.index(way)]}
        axis.loglog(counts, line, label=f"{link} Gbit/s, {way}", **style)
        axis.set_title(f"{network}: workers with a {worker}", fontsize=10)
        axis.set(xlabel="workers", ylabel="images/s")
        axis.grid(alpha=0.3)
    for axis in axes.flat:
        alone = min(line.get_ydata()[0] for line in axis.lines)
        linear = [count * alone for count in counts]
        axis.loglog(counts, linear, color="#888888", linewidth=1, label="linear in the workers")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside right upper", fontsize=9, title="link, batch norm")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
