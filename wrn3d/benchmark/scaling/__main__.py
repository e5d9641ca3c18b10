"""What several workers cost: measured on this machine, and by a model of it for many.

    python -m wrn3d.benchmark.scaling            # twenty minutes; throttled links need root (Linux)
"""
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import median

import tyro

from wrn3d import machine
from wrn3d.benchmark.cases import Case
from wrn3d.benchmark.scaling import model, picture
from wrn3d.checks import check_count
from wrn3d.command import exit_status
from wrn3d.errors import UserError
from wrn3d.reporting import markdown_table, new_folder, writing_to
from wrn3d.runtime import usable_cores
from wrn3d.workers import leave_others

TURN = Path(__file__).with_name("turn.py")
ROOT = TURN.parents[3]
CASE = Case(16, 4, 64)
STEPS = 8
IMAGES, VOLUMES = Case(28, 10, 8), Case(28, 10, 2, 64)
SMALLER = Case(16, 2, 2, 64)  # volumes that two cores can train on; more operations take longer
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
GIGABITS = (10, 100, 400)
ACCELERATION = 300  # of a worker with a GPU, to one of this machine: an assumption
SHARES = {IMAGES: 32, VOLUMES: 2}  # images of each worker


@dataclass(frozen=True)
class ScalingConfig:
    """What is measured, and where the results go."""

    rounds: int = 5
    """Alternations of one worker with two."""
    megabits: tuple[int, ...] = (1000, 300)
    """Links, in Mbit/s, over which two workers are measured as well; none without root."""
    output: Path = Path("runs")
    """Folder in which the results' folder is made."""


def main() -> int:
    """Measure, fit and draw; returns the exit status."""
    leave_others()
    return exit_status(scaling, tyro.cli(
        ScalingConfig, prog="python -m wrn3d.benchmark.scaling",
        description=__doc__.splitlines()[0]))


def scaling(config):
    """Do what `config` says; raises UserError."""
    check_count("rounds", config.rounds)
    with new_folder(config.output, "scaling") as folder:
        said, rates = [], {}
        for part in chain([machine.sentence(machine.describe())], measured(config, rates)):
            print(f"{part}\n", flush=True)
            said.append(part)
        with writing_to(folder):
            (folder / "scaling.md").write_text("\n\n".join(said) + "\n", encoding="utf-8")
            picture.draw(rates, COUNTS, folder / "scaling.png")
        print(f"in {folder}: scaling.md, scaling.png")


def measured(config, found):
    """Texts, as they come; `found` takes the predicted images/s, as `picture` draws them."""
    cores = usable_cores()
    one, two = [], []
    for number in range(config.rounds):
        for steps, workers in sorted(((one, 1), (two, 2)), reverse=number % 2):
            steps.append(run(workers, CASE)["step"])
    ratios = [alone / together for alone, together in zip(one, two, strict=True)]
    rates = [CASE.batch_size / median(steps) for steps in (one, two)]
    yield (f"{CASE.title}, float32: one worker of {cores} cores {rates[0]:.1f} images/s, two "
           f"workers of {cores // 2} each {rates[1]:.1f}: {median(ratios):.2f} times "
           f"({min(ratios):.2f} to {max(ratios):.2f} in {config.rounds} alternations)")

    figures = {count: run(count, CASE, sums=True) for count in (2, 4)}
    network = model.fit_network({(count, int(size)): seconds for count, found in figures.items()
                                 for size, seconds in found["sums"].items()})
    half = {images: run(1, replace(CASE, batch_size=images), cores=cores // 2)["step"]
            for images in (CASE.batch_size // 4, CASE.batch_size // 2)}
    work = model.fit_work(CASE.title, CASE.spec, half)
    yield (f"a message from one worker to the next takes {network.hop * 1e6:.0f} us, and each byte "
           f"{network.per_byte * 1e9:.2f} ns; half the cores take {work.fixed * 1e3:.0f} ms and "
           f"{work.per_image * 1e3:.2f} ms an image")
    yield compared(config, work, network, figures)
    yield from predicted(network, found)


def compared(config, work, network, figures):
    """A table: steps as measured, and by the model."""
    crowded = replace(work, fixed=2 * work.fixed, per_image=2 * work.per_image)
    rows = [("2 workers", figures[2], work, network, 2), ("4 workers, two on a core", figures[4],
                                                        crowded, network, 4)]
    for megabits in config.megabits if os.geteuid() == 0 else ():
        # Both workers' messages go over the one link.
        slow = replace(network, bits_per_second=megabits * 1e6 / 2)
        rows.append((f"2 workers, {megabits} Mbit/s", run(2, CASE, megabits=megabits), work, slow,
                     2))
    return markdown_table(
        ("", "step, seconds", "by the model", "bytes in a step", "by the model"),
        [[title, f"{found['step']:.3f}",
          f"{model.step_seconds(of, link, count, CASE.batch_size // count):.3f}",
          f"{found['bytes'] / 1e6:.1f} MB",
          f"{count * model.sent_in_a_step(of, count) / 1e6:.1f} MB"]
         for title, found, of, link, count in rows])


def predicted(network, found):
    """Tables of images/s for many workers, and what each has of one worker's."""
    figures = run(1, IMAGES, checkpoint=True)
    times = {8: figures["step"], 4: run(1, replace(IMAGES, batch_size=4))["step"]}
    volumes = run(1, SMALLER)["step"] / SMALLER.batch_size
    volume = volumes * VOLUMES.training_operations / SMALLER.training_operations
    works = {IMAGES: model.fit_work(IMAGES.title.rsplit(",", 1)[0], IMAGES.spec, times,
                                    figures["save"]),
             VOLUMES: model.Work(VOLUMES.title.rsplit(",", 1)[0], 0.0, volume,
                                 *model.messages_of(VOLUMES.spec), 3 * figures["save"])}
    for case, work in works.items():
        fast = replace(work, fixed=work.fixed / ACCELERATION,
                       per_image=work.per_image / ACCELERATION)
        for worker, of in (("CPU", work), ("GPU", fast)):
            rows = []
            for gigabits in GIGABITS:
                link = replace(network, bits_per_second=gigabits * 1e9)
                for how in (True, False):
                    rates = [model.images_per_second(of, link, count, SHARES[case], how)
                             for count in COUNTS]
                    found[work.title, worker, gigabits, how] = rates
                    rows.append([f"{gigabits} Gbit/s, {'synchronised' if how else 'local'}", *(
                        f"{rate / count / rates[0]:.0%}" for rate, count in
                        zip(rates, COUNTS, strict=True) if count >= 8)])
            yield (f"{work.title}, {SHARES[case]} images for each worker with a {worker} (alone "
                   f"{rates[0]:.3g} images/s), {work.gradient_bytes / 1e6:.0f} MB of gradients: "
                   "what each worker has of a lone one's images/s\n\n" +
                   markdown_table(("link, batch norm", *map(str, (c for c in COUNTS if c >= 8))),
                                  rows))


def run(workers, case, steps=STEPS, cores=None, megabits=None, **request):
    """The figures of a turn; raises UserError where it fails."""
    request |= {"case": [case.depth, case.widen_factor, case.side], "batch_size": case.batch_size,
                "steps": steps}
    command = [sys.executable, "-m", "wrn3d.launch", "-n", str(workers), str(TURN),
               json.dumps(request)]
    if megabits:  # of a loopback of its own
        command = ["unshare", "--net", "sh", "-c", f"ip link set lo up && tc qdisc add dev lo root "
                   f"tbf rate {megabits}mbit burst 256kb latency 200ms && exec \"$@\"", "sh",
                   *command]
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    process = subprocess.run(
        command, text=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: os.sched_setaffinity(0, chosen))
    if process.returncode:
        reasons = process.stderr.strip().splitlines() or ["no reason was given"]
        raise UserError(f"{workers} workers could not be measured: {reasons[-1]}")
    return json.loads(process.stdout.splitlines()[-1].removeprefix("[0] "))


if __name__ == "__main__":
    sys.exit(main())
