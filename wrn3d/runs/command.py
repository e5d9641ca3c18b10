"""The scripts from the shell: flags, what is printed, and how a run ends."""

import argparse
import time
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import tyro

from wrn3d.distributed.workers import find_rank
from wrn3d.runs import record
from wrn3d.runs.folder import BEST, RunFolder
from wrn3d.runs.loop import Training, scores
from wrn3d.runs.mistakes import class_table, confusion_matrix
from wrn3d.runs.resuming import starting_point
from wrn3d.runs.summary import describe
from wrn3d.system import memory, terminal
from wrn3d.system.errors import Stopped
from wrn3d.system.exit_status import exit_status
from wrn3d.system.signals import StopRequest
from wrn3d.system.terminal import Progress, fitted
from wrn3d.runs.config import RunConfig
from wrn3d.training.evaluation import mean_of, measure
from wrn3d.training.recipes import ORIGINAL, RECIPES, recipe_settings

RATES = 1000  # of the last iterations, of which the median is given
RECIPE_HELP = (
    f"Settings that belong together, of which other flags override any: "
    f"{', '.join(RECIPES)}, or a .toml file of yours."
)
LINES = 100  # a run of twice as many iterations or more prints one for several together,
MOST_TOGETHER = 1000  # so many at most


def main(environment_class, description, arguments=None) -> int:
    """Run a script's command line; returns its exit status, as `exit_status` says."""

    def work():
        summary = description.split("\n", 1)[0]
        config = read_flags(RunConfig, description=summary, args=arguments)
        first = find_rank().rank == 0
        with nullcontext() if first else terminal.in_silence():
            train(environment_class, config, keeps=first)

    return exit_status(work)


def read_flags(config_class, args=None, **options):
    """The command line as a `config_class`: what `--recipe` says, but for the other flags. Raises
    what `recipe_settings` and the class's checks raise, UsageError mostly.

    tyro would put a box of its own around that, so it reads the fields alone.
    """
    unchecked = dataclass(frozen=True)(
        type(
            "_Flags",
            (config_class,),
            {
                "__annotations__": {"recipe": Annotated[str, tyro.conf.arg(help=RECIPE_HELP)]},
                "recipe": ORIGINAL,
                "__post_init__": lambda self: None,
                "__doc__": config_class.__doc__,
            },
        )
    )
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("recipe", "iterations", "epochs"):
        first.add_argument(f"--{name}", nargs="?", default=argparse.SUPPRESS)
    named = vars(first.parse_known_args(args)[0])
    default = unchecked(**recipe_settings(named.get("recipe") or ORIGINAL, named))
    given = vars(tyro.cli(unchecked, args=args, default=default, **options))
    return config_class(**{key: value for key, value in given.items() if key != "recipe"})


def train(environment_class, config, keeps=True):
    """Train as `config` says, print how it goes and keep what is asked for; of several workers the
    first `keeps`."""
    # The folder comes first: what is wrong with it is said before TensorFlow is imported.
    with (
        RunFolder(config.output, config.resume, config.save_every)
        if config.output and keeps
        else nullcontext() as folder
    ):
        checkpoint, said = starting_point(config, folder)
        environment = environment_class(**config.settings)
        for line in [*describe(environment, config), *said]:
            print(fitted(line), flush=True)
        with StopRequest() as stop:
            training = Training(environment, config, stop, folder)
            training.start(checkpoint)
            if folder:
                record.record_start(folder.path, environment, config)
            try:
                _iterate(training)
                if config.evaluate:
                    _evaluate(environment, training)
            except KeyboardInterrupt:
                raise _stopped_at_once(training) from None


def _stopped_at_once(training):
    said = f"stopped at once by {training.stop.name}"
    if training.folder:
        said += (
            f", after iteration {training.saved} was saved"
            if training.saved
            else ", before anything was saved"
        ) + ": to go on add --resume"
    return Stopped(training.stop.number, said)


def _iterate(training):
    total = training.total
    every = min(max(1, total // LINES), MOST_TOGETHER)
    start, first = time.perf_counter(), training.environment.iteration
    since_line, rates = [], deque(maxlen=RATES)
    with Progress(total, "training", first) as progress:
        training.report = progress.print
        for result in training:
            while since_line and since_line[-1].iteration >= result.iteration:
                since_line.pop()  # it went back
            since_line.append(result)
            if result.iteration > first + 1:  # the first one builds the graph
                rates.append(result.images_per_second)
            progress.update(result.iteration, bar_note(result))
            if result.iteration % every == 0 or result.iteration == total:
                progress.print(iteration_line(since_line, total))
                since_line = []
    print(fitted(closing_line(total - first, rates, time.perf_counter() - start)))
    best_by = training.config.best_by
    best, score = training.folder.best(best_by) if training.folder else (None, None)
    if best:
        print(
            fitted(
                f"best      iteration {best.iteration}, validation {best_by} {score:.4f}: "
                f"{training.folder.path / BEST}"
            )
        )


def _evaluate(environment, training):
    mirror = environment.config.mirror
    with Progress(len(environment.y_test), "evaluating") as progress:
        views = environment.predict_views(
            mirror=mirror, track=lambda batches: progress.track(training.until_stopped(batches))
        )
    found = {"test": views[0]} | ({"mirrored": mean_of(views)} if mirror else {})
    results = {name: measure(predictions) for name, predictions in found.items()}
    names = environment.dataset.class_names
    matrix = confusion_matrix(found["test"], len(names))
    print(f"\n{class_table(matrix, names)}\n")
    for name, result in results.items():
        how = ", with their mirror images" if name == "mirrored" else ""
        how += ", averaged weights" if training.config.averaging else ""
        said = scores(result, training.config, environment.dataset)
        print(
            f"test      loss {result.loss:.6f}  {said}  ({len(environment.y_test):,} images{how})"
        )
    if training.folder:
        record.record_test(training.folder.path, environment, results, found["test"], matrix)


def iteration_line(results, total):
    """A line for one iteration, or the means over several."""
    loss, accuracy, seconds = (
        sum(getattr(result, name) for result in results) / len(results)
        for name in ("loss", "accuracy", "seconds")
    )
    return (
        f"iteration {results[-1].iteration:{len(str(total))}}/{total}  loss {loss:.6f}  "
        f"accuracy {accuracy:.4f}  {results[-1].batch_size / seconds:.1f} images/s"
    )


def bar_note(result):
    """What the live bar says about an iteration."""
    return (
        f"loss {result.loss:.3f} acc {result.accuracy:.2f} lr {result.learning_rate:.2g} "
        f"{result.images_per_second:.3g} images/s"
    )


def closing_line(count, rates, seconds):
    """What the whole run came to; `rates` are images/s of iterations."""
    if count <= 0:
        return "done      nothing was left to train"
    said = f"done      {count:,} iterations in {seconds:.1f} s"
    if rates:
        said += f", median {median(rates):.1f} images/s"
    peak = memory.peak_memory()
    return said + (f", at most {memory.in_gib(peak)} of memory" if peak else "")
