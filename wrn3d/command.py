"""The scripts from the shell: flags, what is printed, and how a run ends."""
import os
import signal
import sys
import time
import warnings
from statistics import median

import tyro

from wrn3d import runtime
from wrn3d.config import TrainingConfig
from wrn3d.errors import UserError
from wrn3d.parameters import parameter_count
from wrn3d.progress import Progress, fitted

LINES = 100  # a run of twice as many iterations or more prints one for several together


def main(environment_class, description, arguments=None) -> int:
    """Run a script's command line; returns its exit status, as `exit_status` says."""
    def work():
        summary = description.split("\n", 1)[0]
        flags = tyro.cli(_Flags, description=summary, args=arguments)
        train(environment_class(**vars(flags)))

    return exit_status(work)


def exit_status(work, *arguments) -> int:
    """Do the work of a command; what a user can get wrong ends it with one sentence.

    0: done. 1: data that cannot be used or had. 2: settings that cannot be. 130: Ctrl-C.
    141: nobody reads the output any more.
    """
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"
    try:
        work(*arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt as interrupt:
        print(f"stopped by Ctrl-C{interrupt}", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever reads the output, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # SIGPIPE, which Windows does not name
    return 0


class _Flags(TrainingConfig):
    """The fields alone: tyro would put a box of its own around what checking them raises, so
    that is left to the environment."""

    def __post_init__(self):
        pass


def train(environment):
    """Train as the environment's configuration says, and print how it goes."""
    total = environment.config.total_iterations(environment.num_examples)
    for line in describe(environment, total):
        print(fitted(line), flush=True)

    start, results = time.perf_counter(), []
    every = max(1, total // LINES)
    with Progress(total, "training") as progress:
        for number in range(1, total + 1):
            try:
                results.append(environment.step())
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f" after iteration {number - 1} of {total}") from None
            progress.advance(f"loss {results[-1].loss:.4f}")
            if number % every == 0 or number == total:
                recent = results[(number - 1) // every * every:]
                progress.print(iteration_line(recent, total))
    print(fitted(closing_line(results, time.perf_counter() - start)))

    if environment.config.evaluate:
        with Progress(len(environment.y_test), "evaluating") as progress:
            result = environment.evaluate(track=progress.track)
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
    steady = results[1:] or results  # the first one builds the graph
    rate = median(result.images_per_second for result in steady)
    memory = runtime.peak_memory()
    used = f", at most {memory / 2**30:.2f} GiB of memory" if memory else ""
    return (f"done      {len(results):,} iterations in {seconds:.1f} s, "
            f"median {rate:.1f} images/s{used}")
