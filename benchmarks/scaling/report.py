"""Report the measurements, the model's fit and its predictions: texts, tables, a picture."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median, quantiles

from benchmarks.cases import Case
from benchmarks.processes import Figures
from benchmarks.scaling import model
from benchmarks.scaling.workers import (
    CASE,
    FEWER_IMAGES,
    IMAGES,
    MEGABITS,
    TWICE,
    VOLUMES,
)
from benchmarks.worker import SUM_SIZES
from wrn3d.runs.figures import new_figure
from wrn3d.system.machine import usable_cores
from wrn3d.system.reporting import markdown_table
from wrn3d.system.words import three_digits

LARGE_VOLUMES = Case(28, 10, 2, 64)  # too large for this machine
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHOWN = COUNTS[3:]  # in the tables
GIGABITS = (10, 100, 400)
ACCELERATION = 300  # assumed: speed of a worker with a GPU, relative to one of this machine
NCCL = model.Network(hop=1e-5, per_byte=0.0, tree=True)  # assumed: all-reduce between GPUs
SHARES = {IMAGES: 32, LARGE_VOLUMES: 2}  # images of each worker
COLOURS, STYLES = ("#d62728", "#ff7f0e", "#1f77b4"), ("-", "--", ":")  # for GIGABITS, for WAYS
# {title: (whether batch norm is synchronised, factor by which each worker has more images)}
WAYS = {"synchronised": (True, 1), "local": (False, 1), "local, batch x 4": (False, 4)}


def fit(figures: dict[str, Figures]) -> tuple[model.Work, model.Network]:
    """Fit the model to steps on half of the cores, to sums, and to the step of two workers."""
    network = model.fit_network({(2, size): figures["two"][f"sum of {size}"] for size in SUM_SIZES})
    shares = [CASE.batch_size // share for share in (4, 2, 1)]
    steps = {images: figures[f"half of {images}"]["step"] for images in shares}
    work = model.fit_work(CASE.spec, steps)
    lag = model.fit_lag(work, network, 2, CASE.batch_size // 2, figures["two"]["step"])
    return replace(work, lag=lag), network


def constants(work: model.Work, network: model.Network) -> str:
    """Return a paragraph with the model's constants for this machine and its assumptions."""
    return (
        f"On the loopback a hop takes {network.hop * 1e6:.0f} us and a byte "
        f"{network.per_byte * 1e9:.2f} ns. Half of the cores take {work.fixed * 1e3:.0f} ms a "
        f"step and {work.per_image * 1e3:.2f} ms an image while the others compute the same; "
        f"two workers that wait for each other take another {work.lag:.0%}. In the predictions a "
        f"worker with a CPU has {usable_cores()} cores of this machine and its lag and messages. A "
        f"worker with a GPU is assumed to compute {ACCELERATION} times as fast, not to lag, and to "
        f"sum over NCCL's trees at {NCCL.hop * 1e6:.0f} us a hop."
    )


def one_and_two(case: Case, steps: Sequence[tuple[float, float]]) -> str:
    """Return a sentence that compares alternating steps of one worker and of two."""
    low, _, high = quantiles([one / two for one, two in steps], n=4)
    one, two = (case.batch_size / median(seconds) for seconds in zip(*steps, strict=True))
    cores = usable_cores()
    return (
        f"{case.title}, float32: one worker of {cores} cores {one:.1f} images/s, two workers of "
        f"{cores // 2} each {two:.1f}: ratio {median(one / two for one, two in steps):.3f}, the "
        f"median of {len(steps)} alternations (middle half {low:.3f} to {high:.3f})"
    )


def compared(figures: dict[str, Figures], work: model.Work, network: model.Network) -> str:
    """Return a table of measured and modelled steps. The lag is fitted to the first row."""
    # Four workers share the cores of two.
    crowded = replace(work, fixed=2 * work.fixed, per_image=2 * work.per_image)
    rows = {
        "two": (CASE, work, network, 2, True),
        "two, twice": (TWICE, work, network, 2, True),
        "four": (CASE, crowded, network, 4, True),
    }
    for speed in MEGABITS:
        link = replace(network, bits_per_second=speed * 1e6 / 2)  # both workers share it
        rows[f"two, {speed} Mbit/s"] = (CASE, work, link, 2, True)
        rows[f"two, {speed} Mbit/s, local"] = (CASE, work, link, 2, False)
    table: list[list[str]] = []
    for name, (case, work, link, count, synchronised) in rows.items():
        if name in figures:
            measured = figures[name]
            step = model.step_seconds(work, link, count, case.batch_size // count, synchronised)
            sent = count * model.sent_in_step(work, count, synchronised)
            table.append(
                [
                    f"{name}, batch {case.batch_size}",
                    f"{measured['step']:.3f}",
                    f"{step:.3f}",
                    f"{step / measured['step'] - 1:+.0%}" if table else "fitted",
                    f"{measured['bytes'] / 1e6:.1f} MB",
                    f"{sent / 1e6:.1f} MB",
                ]
            )
    titles = ("workers", "step, seconds", "by the model", "off by", "bytes in a step")
    return markdown_table((*titles, "by the model"), table)


def works_at_scale(figures: dict[str, Figures]) -> dict[Case, model.Work]:
    """Return the Work of each network to predict.

    The time of the large volumes is the small network's, scaled by the number of operations.
    """
    images, fewer, volumes = (figures[name] for name in ("images", "fewer images", "volumes"))
    image_input = images["input"] / IMAGES.batch_size
    volume_input = volumes["input"] / VOLUMES.batch_size
    times = {IMAGES.batch_size: images["step"], FEWER_IMAGES.batch_size: fewer["step"]}
    seconds = volumes["step"] / VOLUMES.batch_size - volume_input
    seconds *= LARGE_VOLUMES.training_operations / VOLUMES.training_operations
    messages = model.messages_of(LARGE_VOLUMES.spec)
    return {
        IMAGES: model.fit_work(IMAGES.spec, times, image_input, images["save"]),
        # Both networks have about as many weights to save.
        LARGE_VOLUMES: model.Work(0.0, seconds, *messages, volume_input, images["save"]),
    }


def predict(
    works: dict[Case, model.Work], lag: float, network: model.Network
) -> tuple[list[str], dict[tuple, list[float]]]:
    """Return a text with a table for each network and kind of worker, and the rates.

    The rates are {(network, kind of worker, Gbit/s, way): images/s for each of COUNTS}.
    """
    texts, rates = [], {}
    for case, work in works.items():
        fast = replace(
            work, fixed=work.fixed / ACCELERATION, per_image=work.per_image / ACCELERATION
        )
        for worker, one, sums in (("CPU", replace(work, lag=lag), network), ("GPU", fast, NCCL)):
            rows = []
            for gigabits, (way, (synchronised, factor)) in product(GIGABITS, WAYS.items()):
                link = replace(sums, bits_per_second=gigabits * 1e9)
                images = factor * SHARES[case]
                of_all = [
                    model.images_per_second(one, link, count, images, synchronised)
                    for count in COUNTS
                ]
                rates[case.network, worker, gigabits, way] = of_all
                rows.append(_row(f"{gigabits} Gbit/s, {way}", of_all))
            table = markdown_table(("link, batch norm", *map(str, SHOWN), "at most"), rows)
            texts.append(f"{_alone(case, worker, one)}\n\n{table}")
    return texts, rates


def _alone(case, worker, work):
    images, gradients = SHARES[case], work.gradients
    seconds = work.alone(images)
    return (
        f"{case.network}, {images} for each worker with a {worker}: alone "
        f"{three_digits(images / seconds)} images/s, "
        f"{images * work.input / seconds:.1%} of the time for input, "
        f"{work.save / work.save_every / seconds:.1%} for a checkpoint in {work.save_every} steps; "
        f"{sum(gradients) / 1e6:.0f} MB of gradients in {len(gradients)} messages. Each worker's "
        "images/s as a share of a lone worker's with as many images:"
    )


def _row(title, rates):
    most, count = max(zip(rates, COUNTS, strict=True))
    shares = {count: rate / count / rates[0] for rate, count in zip(rates, COUNTS, strict=True)}
    return [
        title,
        *(f"{shares[count]:.0%}" for count in SHOWN),
        f"{three_digits(most)} images/s with {count:,}",
    ]


def draw(rates: dict[tuple, list[float]], path: Path) -> None:
    """Write a PNG of {(network, kind of worker, Gbit/s, way): images/s for each of COUNTS}.

    Each network is a row of panels, each kind of worker a column, each link a colour, and each way
    a line style.
    """
    networks, workers, links, ways = (
        list(dict.fromkeys(values)) for values in zip(*rates, strict=True)
    )
    size = 4.3 * len(workers) + 2, 3.8 * len(networks)
    figure = new_figure(layout="constrained", figsize=size)
    axes = figure.subplots(len(networks), len(workers), squeeze=False)
    for (network, worker, link, way), line in rates.items():
        axis = axes[networks.index(network), workers.index(worker)]
        style = {"color": COLOURS[links.index(link)], "linestyle": STYLES[ways.index(way)]}
        axis.loglog(COUNTS, line, label=f"{link} Gbit/s, {way}", **style)
        axis.set_title(f"{network}: workers with a {worker}", fontsize=10)
        axis.set(xlabel="workers", ylabel="images/s")
        axis.grid(alpha=0.3)
    for axis in axes.flat:
        alone = min(line.get_ydata()[0] for line in axis.lines)
        linear = [count * alone for count in COUNTS]
        axis.loglog(COUNTS, linear, color="#888888", linewidth=1, label="linear in the workers")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside right upper", fontsize=9, title="link, batch norm")
    figure.savefig(path, dpi=110)
