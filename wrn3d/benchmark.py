"""Training speed side by side: both front ends and the same network in stock Keras layers.

    python -m wrn3d.benchmark                          # WRN-16-4, batch 32: about two minutes

Each contender runs in a process of its own, in turn and repeatedly (A B C A B C ...), so that a
machine whose speed drifts slows all of them. What counts is the median of all timed iterations.
"""
import importlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import count
from statistics import median

import tyro

from wrn3d import runtime
from wrn3d.checks import check_count, require
from wrn3d.config import TrainingConfig
from wrn3d.data import digits
from wrn3d.data.batches import batch_at
from wrn3d.errors import UsageError
from wrn3d.network import GROUP_STRIDES, STEM_FILTERS
from wrn3d.progress import Progress

SCRIPTS = {"TensorLayer": "cifar_wide_resnet_tl", "Keras": "cifar_wide_resnet_keras"}
STOCK = "stock"
CONTENDERS = (*SCRIPTS, STOCK)


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured, on the embedded digits."""

    depth: int = 16
    """Layers of the network."""
    widen_factor: int = 4
    """The paper's k."""
    batch_size: int = 32
    """Images in an iteration."""
    rounds: int = 3
    """How often each contender has its turn."""
    iterations: int = 10
    """Timed iterations in a turn, after two that are not."""
    contender: str | None = None
    """Measure only this one (TensorLayer, Keras or stock), here, and print its seconds as JSON."""


def main() -> int:
    """Measure every contender, or the one that is named, and print the result."""
    config = tyro.cli(BenchmarkConfig, prog="python -m wrn3d.benchmark",
                      description=__doc__.split("\n", 1)[0])
    try:
        check(config)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    if config.contender:
        print(json.dumps(seconds_of(config)))
        return 0
    try:
        print_table(config, measure(config))
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def check(config):
    """Raise UsageError for settings that cannot be measured."""
    TrainingConfig(**settings_of(config))
    for name in ("rounds", "iterations"):
        check_count(name, getattr(config, name))
    most = digits.TRAIN_COUNT // 2
    require(config.batch_size <= most, f"batch_size is {config.batch_size}, but must be at most "
                                       f"{most}, half of the digits")
    require(config.contender in (None, *CONTENDERS),
            f"contender is {config.contender!r}, but must be one of {', '.join(CONTENDERS)}")


def settings_of(config):
    """The keywords that CNNEnv takes for the network and data that are measured."""
    # Stock Keras has no layer for the pad shortcut: the paper's projection is the same for all.
    return {"dataset": "digits", "depth": config.depth, "widen_factor": config.widen_factor,
            "batch_size": config.batch_size, "shortcut": "projection"}


def measure(config):
    """{contender: seconds of all its timed iterations}, the contenders taking turns."""
    turns = [name for _ in range(config.rounds) for name in CONTENDERS]
    seconds = {name: [] for name in CONTENDERS}
    with Progress(len(turns), "measuring") as progress:
        for number, name in enumerate(turns, start=1):
            latest = measured_apart(config, name)
            seconds[name] += latest
            progress.advance()
            progress.print(f"turn {number}/{len(turns)}  {name}: "
                           f"{config.batch_size / median(latest):.1f} images/s")
    return seconds


def measured_apart(config, contender):
    """Seconds of each timed iteration in a fresh process."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value
             in (asdict(config) | {"contender": contender}).items()]
    process = subprocess.run([sys.executable, "-m", "wrn3d.benchmark", *flags],
                             stdout=subprocess.PIPE, check=True)
    return json.loads(process.stdout.splitlines()[-1])


def seconds_of(config):
    """Seconds of each timed iteration of one contender in this process."""
    runtime.import_tensorflow()
    step = step_function(config)
    for _ in range(2):  # the graph is built in the first, memory settles in the second
        step()
    seconds = []
    for _ in range(config.iterations):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def step_function(config):
    """A call that trains one iteration on the next batch, whose data is prepared within it."""
    settings = settings_of(config)
    if config.contender in SCRIPTS:
        return importlib.import_module(SCRIPTS[config.contender]).CNNEnv(**settings).step

    dataset, positions = digits.load(), count(step=config.batch_size)
    model = stock_keras_model(TrainingConfig(**settings).network_spec(dataset))
    last_start = len(dataset.train_labels) - config.batch_size
    return lambda: model.train_on_batch(*batch_at(
        dataset, 0, 0, next(positions) % last_start, config.batch_size, augment=False))


def stock_keras_model(spec):
    """The network as a newcomer to Keras would write it, compiled."""
    import keras
    from keras import layers

    def batch_norm_relu(x):
        return layers.ReLU()(layers.BatchNormalization()(x))

    def conv3d(x, filters, size, stride):
        return layers.Conv3D(filters, size, stride, padding="same", use_bias=False)(x)

    volumes = keras.Input(spec.input_shape)
    x = conv3d(volumes, STEM_FILTERS, 3, 1)
    for filters, group_stride in zip(spec.group_filters, GROUP_STRIDES, strict=True):
        for block in range(spec.blocks_per_group):
            stride = group_stride if block == 0 else 1
            activated = batch_norm_relu(x)
            y = conv3d(activated, filters, 3, stride)
            y = conv3d(batch_norm_relu(y), filters, 3, 1)
            shortcut = x if x.shape[-1] == filters else conv3d(activated, filters, 1, stride)
            x = layers.Add()([y, shortcut])
    x = layers.GlobalAveragePooling3D()(batch_norm_relu(x))
    model = keras.Model(volumes, layers.Dense(spec.num_classes)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss=loss, metrics=["accuracy"])
    return model


def print_table(config, seconds):
    """Images/s of each contender: median, spread, and the ratio to stock Keras."""
    runtime.import_tensorflow()
    versions = ", ".join(f"{name} {number}" for name, number in runtime.versions().items())
    print(f"WRN-{config.depth}-{config.widen_factor}, batch {config.batch_size}, float32; "
          f"{runtime.device()}; {versions}")
    print(f"{'contender':12} {'images/s':>9} {'lowest':>9} {'highest':>9} {'to stock':>9}")
    stock = median(seconds[STOCK])
    for name, times in seconds.items():
        rates = [config.batch_size / value for value in (median(times), max(times), min(times))]
        print(f"{name:12}", *(f"{rate:9.1f}" for rate in rates), f"{stock / median(times):8.2f}x")


if __name__ == "__main__":
    sys.exit(main())
