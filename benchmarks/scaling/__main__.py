"""What several workers cost: measured on this machine, and by a model of it for many.

python -m benchmarks.scaling            # half an hour; throttled links need root
"""

import os
import sys
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import median, quantiles

import tyro

from benchmarks.cases import Case
from benchmarks.scaling import model, picture
from benchmarks.scaling.measurements import (
    CASE,
    IMAGES,
    SMALLER,
    TWICE,
    alternations,
    can_throttle,
    in_rounds,
    medians,
    turns,
)
from wrn3d.distributed.workers import leave_others
from wrn3d.system import machine
from wrn3d.system.checks import check_count, require
from wrn3d.system.exit_status import exit_status
from wrn3d.system.machine import usable_cores
from wrn3d.system.reporting import markdown_table, new_folder, writing_to

VOLUMES = Case(28, 10, 2, 64)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHOWN = COUNTS[3:]  # in the tables
GIGABITS = (10, 100, 400)
ACCELERATION = 300  # of a worker with a GPU, to one of this machine: an assumption
NCCL = model.Network(hop=1e-5, per_byte=0.0, tree=True)  # sums between GPUs: assumed, too
SHARES = {IMAGES: 32, VOLUMES: 2}  # images of each worker
# Batch norm, and how many times as many images a worker has.
WAYS = {"synchronised": (True, 1), "local": (False, 1), "local, batch x 4": (False, 4)}


@dataclass(frozen=True)
class ScalingConfig:
    """What is measured, and where the results go."""

    alternations: int = 40
    """Of one worker and two, a few steps each."""
    rounds: int = 5
    """Of all else that is measured."""
    megabits: tuple[int, ...] = (1000, 300, 100)
    """Links, in Mbit/s, over which two workers are measured as well; none without root."""
    output: Path = Path("runs")
    """Folder in which the results' folder is made."""


def main() -> int:
    """Measure, fit and draw; returns the exit status."""
    leave_others()
    return exit_status(
        scaling,
        tyro.cli(
            ScalingConfig, prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0]
        ),
    )


def scaling(config):
    """Do what `config` says; raises UserError."""
    require(
        hasattr(os, "sched_setaffinity") and usable_cores() > 1,
        "this benchmark divides cores between workers: run it on Linux, with two or more",
    )
    check_count("alternations", config.alternations, least=2)
    check_count("rounds", config.rounds)
    for megabits in config.megabits:
        check_count("megabits", megabits)
    with new_folder(config.output, "scaling") as folder:
        said, rates = [], {}
        for text in chain([machine.sentence(machine.describe())], measured(config, rates)):
            print(f"{text}\n", flush=True)
            said.append(text)
        with writing_to(folder):
            (folder / "scaling.md").write_text("\n\n".join(said) + "\n", encoding="utf-8")
            picture.draw(rates, COUNTS, folder / "scaling.png")
        print(f"in {folder}: scaling.md, scaling.png")


def measured(config, found):
    """Texts, as they come; `found` takes the predicted images/s, as `picture` draws them."""
    megabits = config.megabits if can_throttle() else ()
    for case in TWICE, CASE:
        yield one_and_two(case, alternations(case, config.alternations))
    figures = {
        name: medians(of_it) for name, of_it in in_rounds(turns(megabits), config.rounds).items()
    }
    network = model.fit_network(
        {(2, int(size)): seconds for size, seconds in figures["two"]["sums"].items()}
    )
    work = model.fit_work(
        CASE.title,
        CASE.spec,
        {CASE.batch_size // share: figures[share]["step"] for share in (4, 2, 1)},
    )
    work = replace(
        work, lag=model.fit_lag(work, network, 2, CASE.batch_size // 2, figures["two"]["step"])
    )
    yield (
        f"On the loopback a message from one worker to the next takes {network.hop * 1e6:.0f} "
        f"us, and each byte {network.per_byte * 1e9:.2f} ns. Half the cores take "
        f"{work.fixed * 1e3:.0f} ms and {work.per_image * 1e3:.2f} ms an image while the others "
        f"compute, too; two that wait for each other lag by another {work.lag:.0%}."
    )
    yield compared(figures, work, network, megabits)
    yield (
        f"Predicted: workers with a CPU are {usable_cores()} cores of this machine, which lag "
        "as its workers do, with messages as above. Those with a GPU are assumed to compute "
        f"{ACCELERATION} times as fast, not to lag, and to sum over NCCL's trees at "
        f"{NCCL.hop * 1e6:.0f} us a hop."
    )
    yield from predicted(works_at_scale(figures), network, work.lag, found)


def one_and_two(case, steps):
    """A sentence on the steps of one worker and of two."""
    ratios = [one / two for one, two in steps]
    low, _, high = quantiles(ratios, n=4)
    one, two = (case.batch_size / median(seconds) for seconds in zip(*steps, strict=True))
    cores = usable_cores()
    return (
        f"{case.title}, float32: one worker of {cores} cores {one:.1f} images/s, two workers "
        f"of {cores // 2} each {two:.1f}: {median(ratios):.3f} times, the median of "
        f"{len(ratios)} alternations, of which the middle half are within {low:.3f} and "
        f"{high:.3f}"
    )


def compared(figures, work, network, megabits):
    """A table: steps as measured, and by the model, whose lag is fitted to the first."""
    crowded = replace(work, fixed=2 * work.fixed, per_image=2 * work.per_image)
    rows = [
        ("two", CASE, work, network, 2, True),
        ("two, twice", TWICE, work, network, 2, True),
        ("four", CASE, crowded, network, 4, True),  # in the place of two
        # Both workers' messages go over the one link.
        *(
            (
                f"two, {speed} Mbit/s{end}",
                CASE,
                work,
                replace(network, bits_per_second=speed * 1e6 / 2),
                2,
                how,
            )
            for speed in megabits
            for how, end in ((True, ""), (False, ", local"))
        ),
    ]
    table = []
    for name, case, of, link, count, how in rows:
        seconds = model.step_seconds(of, link, count, case.batch_size // count, how)
        table.append(
            [
                f"{name}, batch {case.batch_size}",
                f"{figures[name]['step']:.3f}",
                f"{seconds:.3f}",
                f"{seconds / figures[name]['step'] - 1:+.0%}" if table else "fitted",
                f"{figures[name]['bytes'] / 1e6:.1f} MB",
                f"{count * model.sent_in_a_step(of, count, how) / 1e6:.1f} MB",
            ]
        )
    return markdown_table(
        ("workers", "step, seconds", "by the model", "off by", "bytes in a step", "by the model"),
        table,
    )


def predicted(works, network, lag, found):
    """Tables of images/s for many workers, and what each has of one worker's."""
    for case, work in works.items():
        fast = replace(
            work, fixed=work.fixed / ACCELERATION, per_image=work.per_image / ACCELERATION
        )
        for worker, of, sums in (("CPU", replace(work, lag=lag), network), ("GPU", fast, NCCL)):
            rows = []
            for gigabits in GIGABITS:
                link = replace(sums, bits_per_second=gigabits * 1e9)
                for way, (synchronised, times) in WAYS.items():
                    rates = [
                        model.images_per_second(of, link, count, times * SHARES[case], synchronised)
                        for count in COUNTS
                    ]
                    found[work.title, worker, gigabits, way] = rates
                    rows.append(_row(f"{gigabits} Gbit/s, {way}", rates))
            alone = of.alone(SHARES[case])
            yield (
                f"{work.title}, {SHARES[case]} for each worker with a {worker}: alone "
                f"{SHARES[case] / alone:.3g} images/s, {SHARES[case] * of.input / alone:.1%} of "
                f"the time for input, {of.save / of.save_every / alone:.1%} for a checkpoint in "
                f"{of.save_every} steps; {sum(work.gradients) / 1e6:.0f} MB of gradients in "
                f"{len(work.gradients)} messages. What each worker has of a lone one's with as "
                "many images:\n\n"
                + markdown_table(("link, batch norm", *map(str, SHOWN), "at most"), rows)
            )


def _row(title, rates):
    most, count = max(zip(rates, COUNTS, strict=True))
    shares = {count: rate / count / rates[0] for rate, count in zip(rates, COUNTS, strict=True)}
    three_digits = float(f"{most:.3g}")  # and printed without an exponent
    return [
        title,
        *(f"{shares[count]:.0%}" for count in SHOWN),
        f"{three_digits:,.12g} images/s with {count:,}",
    ]


def works_at_scale(figures) -> dict:
    """{case: its Work} of what is predicted. Volumes are too large for this machine: their time is
    a smaller network's, by the operations."""
    images, fewer, volumes = (figures[name] for name in ("images", "fewer images", "volumes"))
    inputs = {
        case: found["input"] / case.batch_size
        for case, found in ((IMAGES, images), (SMALLER, volumes))
    }
    volume = (volumes["step"] / SMALLER.batch_size - inputs[SMALLER]) * (
        VOLUMES.training_operations / SMALLER.training_operations
    )
    return {
        IMAGES: model.fit_work(
            _network(IMAGES),
            IMAGES.spec,
            {IMAGES.batch_size: images["step"], IMAGES.batch_size // 4: fewer["step"]},
            inputs[IMAGES],
            images["save"],
        ),
        VOLUMES: model.Work(
            _network(VOLUMES),
            0.0,
            volume,
            *model.messages_of(VOLUMES.spec),
            inputs[SMALLER],
            images["save"],
        ),
    }  # with weights as many


def _network(case):
    """Its title without the batch."""
    return case.title.rsplit(",", 1)[0]


if __name__ == "__main__":
    sys.exit(main())
