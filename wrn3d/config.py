"""What a run is: one dataclass, whose fields are the scripts' flags and CNNEnv's keywords."""
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from wrn3d.data import check_name
from wrn3d.errors import UsageError
from wrn3d.spec import WideResNetSpec


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run; the defaults are the original scripts'.

    Raises UsageError (a ValueError) for values that make no run.
    """

    dataset: str = "cifar10"
    """cifar10, cifar100 or digits (real handwritten digits, embedded: no download)."""
    data_dir: Path = Path("data")
    """Where CIFAR lies, or goes when it is downloaded."""
    depth: int = 28
    """Layers of the network, 6n + 4 with n blocks in each of the three groups."""
    widen_factor: int = 4
    """The paper's k: groups of 16k, 32k and 64k filters."""
    dropout: float = 0.0
    """Share of activations dropped between a block's convolutions (the paper: 0.3)."""
    shortcut: str = "pad"
    """pad (the original script's) or projection (the paper's), where the channels change."""
    batch_size: int = 64
    """Images in an iteration."""
    iterations: int = 10
    """Iterations to train."""
    epochs: int | None = None
    """Passes over the training images; decides, if given, instead of --iterations."""
    learning_rate: float = 0.01
    """Step size of plain gradient descent, or of what --momentum and --nesterov make of it."""
    momentum: float = 0.0
    """Share of the last update that carries on (the paper: 0.9)."""
    nesterov: bool = False
    """Look ahead along the momentum (the paper does)."""
    weight_decay: float = 0.0
    """Share of each weight added to its gradient (the paper: 5e-4)."""
    augment: bool = False
    """Crop at random after reflecting 4 pixels on each side, and flip half of the images."""
    seed: int = 0
    """Decides initial weights, order, crops, flips and dropout."""
    evaluate: bool = False
    """Report the test accuracy at the end."""

    def __post_init__(self):
        check_name(self.dataset)
        WideResNetSpec(self.depth, self.widen_factor, self.dropout, shortcut=self.shortcut)
        _check_count("batch_size", self.batch_size)
        _check_count("iterations", self.iterations)
        if self.epochs is not None:
            _check_count("epochs", self.epochs)
        for name in ("learning_rate", "momentum", "weight_decay"):
            check_not_negative(name, getattr(self, name))
            object.__setattr__(self, name, float(getattr(self, name)))  # a program may give 0 or 1
        if self.momentum >= 1:
            raise UsageError(f"momentum is {self.momentum!r}, but must be below 1")
        if self.nesterov and not self.momentum:
            raise UsageError("nesterov needs a momentum above 0, such as 0.9")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 1 << 63:
            raise UsageError(f"seed is {self.seed!r}, but must be a whole number from 0 up")

    def network_spec(self, dataset) -> WideResNetSpec:
        """The network that these settings mean for `dataset`."""
        return WideResNetSpec(self.depth, self.widen_factor, self.dropout,
                              len(dataset.class_names), dataset.volume_shape, self.shortcut)

    def total_iterations(self, num_examples: int) -> int:
        """How long to train; an epoch's incomplete last batch is dropped."""
        if self.epochs is not None:
            return self.epochs * (num_examples // self.batch_size)
        return self.iterations


def check_not_negative(name, value):
    """Raise UsageError unless `value` is a finite number from 0 up."""
    if not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise UsageError(f"{name} is {value!r}, but must be a number from 0 up")


def _check_count(name, value):
    if not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} is {value!r}, but must be a whole number from 1 up")
