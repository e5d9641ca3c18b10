"""Runs with a folder: their flags, how to start and follow them, and the files they leave."""

import re
import resource
import shlex
import signal
import time
from contextlib import contextmanager

import numpy as np

from wrn3d import Checkpoint, WideResNetSpec, initial_weights
from wrn3d.runs.config import RunConfig
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.loop import TrainingLoop
from wrn3d.runs.resuming import starting_point
from wrn3d.system.signals import StopRequest

SMALL = shlex.split("--dataset digits --volume-size 16 --depth 10 --widen-factor 1 --batch-size 32")
FULL = [
    *SMALL,
    *shlex.split(
        "--batch-size 64 --dropout 0.3 --momentum 0.9 --nesterov --weight-decay 5e-4 --augment"
    ),
    *shlex.split("--validation 300 --evaluate --iterations 60 --save-every 7"),
]


def wait_for(process, iteration):
    """Read the output of a process until it prints the line of an iteration."""
    for line in process.stdout:
        if re.match(f"iteration +{iteration}/", line):
            return


def wait_until(reached, process, pause=0.001):
    """Return whether `reached()` becomes true before the process ends."""
    while not reached():
        if process.poll() is not None:
            return False
        time.sleep(pause)
    return True


def train(env, path, total, **options):
    """Train or resume a run in this process; return (its reported lines, its StepResults)."""
    config = RunConfig(**env.config.settings | {"iterations": total} | options, output=path)
    with StopRequest() as stop, RunFolder(path, config.resume, config.save_every) as folder:
        checkpoint, lines = starting_point(config, folder)
        loop = TrainingLoop(env, config, stop, folder, report=lines.append)
        loop.start(checkpoint)
        return lines, list(loop)


def small_checkpoint(path, config):
    """Save a Checkpoint of a few small arrays, and return it."""
    weights = {
        name: array
        for name, array in initial_weights(WideResNetSpec(10, 1), 0).items()
        if name.startswith(("fc", "bn"))
    }
    saved = Checkpoint(weights, {"fc.bias": np.ones(10, np.float32)}, 7, 1, 64, config=config)
    saved.save(path)
    return saved


def files(folder):
    """Return the names of the files that resuming reproduces exactly: logs and checkpoints."""
    kept = (path for path in folder.iterdir() if path.suffix in (".csv", ".safetensors"))
    return sorted(path.name for path in kept if path.name != "times.csv")


def contents(folder):
    """Return {name: bytes} of the `files` in a folder."""
    return {name: (folder / name).read_bytes() for name in files(folder)}


def outcome(folder, output):
    """Return the `contents` of a folder, and the last line that the run printed."""
    return contents(folder), output.splitlines()[-1]


def check_complete(folder):
    """Check that no log line and no checkpoint is incomplete."""
    for name, content in contents(folder).items() if folder.exists() else ():
        if name.endswith(".csv"):
            lines = content.decode().splitlines(keepends=True)
            assert {(line.count(","), line[-1]) for line in lines} == {(lines[0].count(","), "\n")}
        else:
            Checkpoint.load(folder / name)


def about_writing(warned):
    """Return the texts of warnings about logs and checkpoints, not about pictures and events."""
    texts = [str(warning.message) for warning in warned]
    return [text for text in texts if not text.startswith(("curves.png", "TensorBoard"))]


@contextmanager
def files_end_at(size):
    """Let no file grow beyond `size` bytes: the kernel cuts a write short, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


def after_step(monkeypatch, env, action):
    """Call `action(result)` after each iteration; if it returns a result, use that instead."""
    step = env.step

    def step_and_act():
        result = step()
        return action(result) or result

    monkeypatch.setattr(env, "step", step_and_act)


def spoil_weights(env):
    """Make all weights NaN, as a diverged update does."""
    env.set_weights({name: array * np.nan for name, array in env.get_weights().items()})


def rounded(weights):
    """Return an image network's weights as a shipped file keeps them, computed independently."""
    kept = {name: array.copy() for name, array in weights.items()}
    for name, array in kept.items():
        if array.ndim == 5:
            centre = array.shape[0] // 2
            array[:centre] = array[centre + 1 :] = 0
        if array.ndim > 1:
            kept[name] = array.astype(np.float16).astype(np.float32)
    return kept
