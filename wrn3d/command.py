"""The scripts from the shell: flags, what is printed, and how a run ends."""
import os
import signal
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro

from wrn3d import runtime
from wrn3d.checks import check_count, require
from wrn3d.config import TrainingConfig
from wrn3d.errors import Stopped, UserError
from wrn3d.parameters import parameter_count
from wrn3d.progress import Progress, fitted
from wrn3d.run_folder import RunFolder
from wrn3d.signals import StopRequest
from wrn3d.training import Training

LINES = 100  # a run of twice as many iterations or more prints one for several together


def main(environment_class, description, arguments=None) -> int:
    """Run a script's command line; returns its exit status, as `exit_status` says."""
    def work():
        summary = description.split("\n", 1)[0]
        config = read_flags(CommandConfig, description=summary, args=arguments)
        train(environment_class(**config.settings), config)

    return exit_status(work)


def exit_status(work, *arguments) -> int:
    """Do the work of a command; what a user can get wrong ends it with one sentence.

    0: done. 1: data that cannot be used or had. 2: settings that cannot be. 130: Ctrl-C.
    141: nobody reads the output any more.
    """
    runtime.show_warnings_as_notes()
    try:
        work(*arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_status
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever reads the output, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # SIGPIPE, which Windows does not name
    return 0


@dataclass(frozen=True)
class CommandConfig(TrainingConfig):
    """A run's settings, and what is kept of it."""

    output: Path | None = None
    """Folder for the run's log and checkpoints; none are kept without."""
    save_every: int = 100
    """Iterations from one checkpoint to the next; the last three are kept."""
    resume: bool = False
    """Go on with the run in --output, from its newest whole checkpoint."""
    override: tuple[str, ...] = ()
    """Settings that may differ from those of the run that is gone on with, such as batch_size."""

    def __post_init__(self):
        super().__post_init__()
        check_count("save_every", self.save_every)
        require(self.output or not (self.resume or self.override),
                "resume and override need the folder of the run: name it with --output")


def read_flags(config_class, **options):
    """The command line as a `config_class`; raises what its checks raise, UsageError mostly.

    tyro would put a box of its own around that, so it reads the fields alone.
    """
    unchecked = type("_Flags", (config_class,), {"__post_init__": lambda self: None,
                                                 "__doc__": config_class.__doc__})
    return config_class(**vars(tyro.cli(unchecked, **options)))


def train(environment, config):
    """Train as `config` says, print how it goes and keep what is asked for."""
    total = config.total_iterations(environment.num_examples)
    for line in describe(environment, total):
        print(fitted(line), flush=True)
    with StopRequest() as stop, \
            RunFolder(config.output, config.resume) if config.output else nullcontext() as folder:
        training = Training(environment, total, stop, folder, config.save_every)
        if folder:
            for line in training.start(config.override):
                print(fitted(line), flush=True)
        _iterate(training, total)
        if config.evaluate:
            _evaluate(environment, training)


def _iterate(training, total):
    start, results = time.perf_counter(), []
    every = max(1, total // LINES)
    with Progress(total, "training", training.environment.iteration) as progress:
        for result in training:
            results.append(result)
            progress.advance(f"loss {result.loss:.4f}")
            if result.iteration % every == 0 or result.iteration == total:
                since_line = (result.iteration - 1) % every + 1
                progress.print(iteration_line(results[-since_line:], total))
    print(fitted(closing_line(results, time.perf_counter() - start)))


def _evaluate(environment, training):
    with Progress(len(environment.y_test), "evaluating") as progress:
        def track(batches):
            for batch in progress.track(batches):
                yield batch
                training.check_stop()

        result = environment.evaluate(track)
    print(f"test      loss {result.loss:.6f}  accuracy {result.accuracy:.4f}  "
          f"({len(environment.y_test):,} images)")


def describe(environment, total):
    """What is about to be trained, in lines."""
    config, spec, dataset = environment.config, environment.spec, environment.dataset
    versions = ", ".join(f"{name} {number}" for name, number in runtime.versions().items())
    sides = "x".join(map(str, spec.input_shape))
    epochs = total * config.batch_size / environment.num_examples
    options = [f"learning rate {config.learning_rate:g}", f"batch {config.batch_size}"]
    options += [f"{name.replace('_', ' ')} {value:g}" for name in ("momentum", "weight_decay")
                if (value := getattr(config, name))]
    options += [name for name in ("nesterov", "augment") if getattr(config, name)]
    options += [config.precision] if config.precision != "float32" else []
    return [
        f"network   {spec.name}, {spec.shortcut} shortcut, dropout {spec.dropout:g}: "
        f"{parameter_count(spec):,} parameters",
        f"data      {dataset.title} from {dataset.origin}: {len(dataset.train_labels):,} training "
        f"and {len(dataset.test_labels):,} test volumes of {sides}, {spec.num_classes} classes",
        f"training  {environment.front_end}, {total:,} iterations ({epochs:.3g} epochs), "
        f"{', '.join(options)}, seed {config.seed}",
        f"versions  {versions}",
        f"device    {runtime.device()}",
    ]


def iteration_line(results, total):
    """A line for one iteration, or the means over several."""
    loss, accuracy, seconds = (sum(getattr(result, name) for result in results) / len(results)
                               for name in ("loss", "accuracy", "seconds"))
    return (f"iteration {results[-1].iteration:{len(str(total))}}/{total}  loss {loss:.6f}  "
            f"accuracy {accuracy:.4f}  {results[-1].batch_size / seconds:.1f} images/s")


def closing_line(results, seconds):
    """What the whole run came to."""
    if not results:
        return "done      nothing was left to train"
    steady = results[1:] or results  # the first one builds the graph
    rate = median(result.images_per_second for result in steady)
    memory = runtime.peak_memory()
    used = f", at most {memory / 2**30:.2f} GiB of memory" if memory else ""
    return (f"done      {len(results):,} iterations in {seconds:.1f} s, "
            f"median {rate:.1f} images/s{used}")
