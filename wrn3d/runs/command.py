"""The command line of the training scripts: read flags, train, print, and return an exit status."""

import argparse
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from signal import SIGINT
from typing import Annotated, Any, TypeVar

import tyro

from wrn3d.distributed.workers import find_rank
from wrn3d.runs import lines, record
from wrn3d.runs.config import RunConfig
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.loop import TrainingLoop
from wrn3d.runs.mistakes import class_table, confusion_matrix
from wrn3d.runs.resuming import starting_point
from wrn3d.runs.summary import describe
from wrn3d.system import terminal
from wrn3d.system.errors import Stopped
from wrn3d.system.exit_status import exit_status
from wrn3d.system.flags import parse_flags
from wrn3d.system.signals import StopRequest
from wrn3d.system.terminal import Progress, fitted
from wrn3d.training.checkpoint import BEST
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.evaluation import BEST_PREFIX, Predictions, measure, ways_to_measure
from wrn3d.training.recipes import ORIGINAL, RECIPES, recipe_settings
from wrn3d.training.step import StepResult

RECIPE_HELP = (
    f"Recipe whose settings are the defaults of the other flags: {', '.join(RECIPES)}, or your own "
    ".toml file."
)
RATES = 1000  # last iterations, at most: the closing line gives their median rate
LINES = 100  # A run of more iterations prints 100 to 200 lines.
MOST_PER_LINE = 1000  # iterations; a very long run prints more than 200 lines

Config = TypeVar("Config")


def main(
    environment_class: type[TrainingEnvironment],
    description: str | None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a script's command line and return its exit status, as `exit_status` does.

    `arguments` replace those of the process. With several workers, only the first one prints and
    writes files.
    """

    def work() -> None:
        summary = (description or "").split("\n", 1)[0]  # `python -OO` has no docstrings
        config = read_flags(RunConfig, None, summary, arguments)
        is_first = find_rank().rank == 0
        with nullcontext() if is_first else terminal.in_silence():
            train(environment_class, config, is_first)

    return exit_status(work)


def read_flags(
    config_class: type[Config],
    prog: str | None = None,
    description: str | None = None,
    args: Sequence[str] | None = None,
) -> Config:
    """Read a command line as a `config_class`, with the settings of `--recipe` as defaults.

    The arguments are `parse_flags`'s. Raises what it, `recipe_settings` and the class's checks
    raise, mostly UsageError. The checks run after tyro, which would print a box around their
    messages.
    """
    shown: dict[str, Any] = {
        one.name: Annotated[one.type, tyro.conf.arg(metavar=one.metadata["shown"])]
        for one in fields(config_class)  # type: ignore[arg-type]
        if "shown" in one.metadata
    }
    recipe = tyro.conf.arg(metavar=f"{{{','.join(RECIPES)},FILE.toml}}", help=RECIPE_HELP)
    unchecked: Any = dataclass(frozen=True)(
        type(
            "_Flags",
            (config_class,),
            {
                "__annotations__": shown | {"recipe": Annotated[str, recipe]},
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
    given = vars(parse_flags(unchecked, prog, description, args, default))
    return config_class(**{key: value for key, value in given.items() if key != "recipe"})


def train(
    environment_class: type[TrainingEnvironment], config: RunConfig, is_first: bool = True
) -> None:
    """Train as `config` says, print the progress and fill the run's folder.

    `is_first` is False in every worker but the first. Those workers write nothing.
    """
    # The folder comes first, so its errors are reported before TensorFlow is imported.
    with (
        RunFolder(config.output, config.resume, config.save_every, environment_class.metrics)
        if config.output and is_first
        else nullcontext() as folder
    ):
        checkpoint, notes = starting_point(config, folder)
        # A checkpoint has all weights: the file that they came from may be gone.
        settings = config.settings | ({"init": None} if checkpoint else {})
        environment = environment_class(**settings)
        for line in [*describe(environment, config), *notes]:
            print(fitted(line), flush=True)
        with StopRequest() as stop:
            loop = TrainingLoop(environment, config, stop, folder)
            loop.start(checkpoint)
            if folder:
                record.record_start(folder.path, environment, config)
            try:
                _train(loop)
                if folder:
                    record.record_end(folder, environment.iteration)
                if lines.is_tested(config, environment.dataset):
                    _evaluate(loop)
            except KeyboardInterrupt:
                raise _stopped_at_once(loop) from None


def _train(loop: TrainingLoop) -> None:
    start, first = time.perf_counter(), loop.environment.iteration
    with Progress(loop.total, "training", first) as progress:
        rates = _print_iterations(loop, progress)
    seconds = time.perf_counter() - start
    count = loop.environment.iteration - first
    print(fitted(lines.closing_line(count, rates, seconds)))
    if not loop.folder:
        return
    best_by = loop.config.best_by
    best, score = loop.folder.best(best_by)
    if best:
        path = loop.folder.path / BEST
        print(
            fitted(
                f"best      iteration {best.iteration}, validation {best_by} {score:.4f}: {path}"
            )
        )


def _print_iterations(loop: TrainingLoop, progress: Progress) -> Sequence[float]:
    """Train and print a line for every few iterations. Return the images/s of the last ones."""
    first, total = loop.environment.iteration, loop.total
    every = min(max(1, total // LINES), MOST_PER_LINE)
    results: list[StepResult] = []
    rates: deque[float] = deque(maxlen=RATES)
    loop.report = progress.print
    for result in loop:
        while results and results[-1].iteration >= result.iteration:
            results.pop()  # the loop went back after divergence
        results.append(result)
        if result.iteration > first + 1:  # the first one builds the graph
            rates.append(result.images_per_second)
        progress.update(result.iteration, lines.progress_note(result))
        if result.iteration % every == 0 or result.iteration == total:
            progress.print(lines.iteration_line(results, total))
            results = []
    return rates


def _evaluate(loop: TrainingLoop) -> None:
    """Evaluate the test split; print and record the results.

    If test images also occur in an earlier split, there are results without them, too. If another
    checkpoint than the last is the best by the validation split, there are its results, too.
    """
    environment, config, dataset = loop.environment, loop.config, loop.environment.dataset
    iterations, predictions = {"iteration": environment.iteration}, _test_predictions(loop)
    if loop.go_to_best():
        best = _test_predictions(loop)
        predictions |= {BEST_PREFIX + name: one for name, one in best.items()}
        iterations["best_iteration"] = environment.iteration
    metrics = environment.functions.metrics
    results = {name: measure(chosen, metrics=metrics) for name, chosen in predictions.items()}
    matrix = confusion_matrix(predictions["test"], len(dataset.class_names))
    print(f"\n{class_table(matrix, dataset.class_names)}\n")
    for name, result in results.items():
        count = len(predictions[name].labels)
        print(lines.result_line(name, result, count, config, dataset))
    if loop.folder:
        record.record_test(loop.folder.path, dataset, iterations, results, predictions, matrix)


def _test_predictions(loop: TrainingLoop) -> dict[str, Predictions]:
    """Return predictions of the test split in each of `ways_to_measure`."""
    environment, config, dataset = loop.environment, loop.config, loop.environment.dataset
    with Progress(len(dataset.test_labels), "evaluating") as progress:
        views = environment.predict_views(
            mirror=config.mirror,
            track=lambda batches: progress.track(loop.until_stopped(batches)),
        )
    return ways_to_measure(views, dataset, "test", config.mirror)


def _stopped_at_once(loop: TrainingLoop) -> Stopped:
    message = f"stopped at once by {loop.stop.name}"
    if loop.folder:
        message += (
            f", the last checkpoint is of iteration {loop.saved}: add --resume to continue from it"
            if loop.saved
            else ", nothing was saved: the same command with --resume starts from the beginning"
        )
    return Stopped(loop.stop.number or SIGINT, message)
