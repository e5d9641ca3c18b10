"""Runs with a folder: their settings, their processes, and what they leave."""

import re
import resource
import signal
import time
from contextlib import contextmanager

import numpy as np

from wrn3d import Checkpoint, WideResNetSpec, initial_weights
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.loop import Training
from wrn3d.runs.resuming import starting_point
from wrn3d.system.signals import StopRequest
from wrn3d.training.config import RunConfig

SMALL = [
    "--dataset",
    "digits",
    "--volume-size",
    "16",
    "--depth",
    "10",
    "--widen-factor",
    "1",
    "--batch-size",
    "32",
]
FULL = [
    *SMALL,
    "--dropout",
    "0.3",
    "--momentum",
    "0.9",
    "--nesterov",
    "--weight-decay",
    "5e-4",
    "--augment",
    "--validation",
    "300",
    "--evaluate",
    "--iterations",
    "60",
    "--save-every",
    "7",
]


def wait_for(process, iteration):
    for line in process.stdout:
        if re.match(f"iteration +{iteration}/", line):
            return


def wait_until(reached, process, pause=0.001):
    """Whether something has come about before the process ended."""
    while not reached():
        if process.poll() is not None:
            return False
        time.sleep(pause)
    return True


def train(env, path, total, **options):
    """What is said about where it starts, and the iterations' results."""
    config = RunConfig(**env.config.settings | {"iterations": total}, output=path, **options)
    with StopRequest() as stop, RunFolder(path, config.resume, config.save_every) as folder:
        checkpoint, said = starting_point(config, folder)
        training = Training(env, config, stop, folder, report=said.append)
        training.start(checkpoint)
        return said, list(training)


def small_checkpoint(path, config):
    """A Checkpoint of some of a network's arrays, also saved."""
    weights = {
        name: array
        for name, array in initial_weights(WideResNetSpec(10, 1), 0).items()
        if name.startswith(("fc", "bn"))
    }
    saved = Checkpoint(weights, {"fc.bias": np.ones(10, np.float32)}, 7, 1, 64, config=config)
    saved.save(path)
    return saved


def files(folder):
    """What a run is made of; pictures, and what has the time of day in it, aside."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".csv", ".safetensors"))


def contents(folder):
    """{name: bytes} of everything that a run has left."""
    return {name: (folder / name).read_bytes() for name in files(folder)}


def outcome(folder, output):
    """What a run has left and the last line of what it printed."""
    return contents(folder), output.splitlines()[-1]


def check_whole(folder):
    """Nothing in the folder is half there."""
    for name, content in contents(folder).items() if folder.exists() else ():
        if name.endswith(".csv"):
            lines = content.decode().splitlines(keepends=True)
            assert all(
                line.endswith("\n") and line.count(",") == lines[0].count(",") for line in lines
            ), name
        else:
            Checkpoint.load(folder / name)


def of_importance(said):
    """The warnings, as texts, of what a run cannot do without."""
    texts = [str(warning.message) for warning in said]
    return [text for text in texts if not text.startswith(("curves.png", "TensorBoard's"))]


@contextmanager
def files_end_at(size):
    """No file can be written beyond so many bytes: the kernel ends a write there in the middle, as
    on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
