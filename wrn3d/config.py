"""What a run is: one dataclass, whose fields are the scripts' flags and CNNEnv's keywords."""
from dataclasses import dataclass, fields
from pathlib import Path

from wrn3d.checks import check_count, check_flag, check_number, check_share, require
from wrn3d.data import check_name
from wrn3d.network import check_precision
from wrn3d.spec import WideResNetSpec

NETWORK_FIELDS = ("depth", "widen_factor", "dropout", "shortcut")  # those that a spec has, too


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run; the defaults are the original scripts'.

    Raises UsageError (a ValueError) for values that make no run.
    """

    dataset: str = "cifar10"
    """cifar10, cifar100, digits (real handwritten digits, embedded: no download), or the path of
    an .npz file of images or volumes in MedMNIST's format."""
    data_dir: Path = Path("data")
    """Where CIFAR lies, or goes when it is downloaded."""
    validation: int = 0
    """Training images to set aside, the last ones; by them the best checkpoint is chosen."""
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
    precision: str = "float32"
    """float32, or bfloat16 for the convolutions (faster on CPUs with AVX512_BF16 or AMX)."""
    augment: bool = False
    """Crop at random after reflecting 4 pixels on each side, and flip half of the images."""
    seed: int = 0
    """Decides initial weights, order, crops, flips and dropout."""
    evaluate: bool = False
    """Report the test accuracy at the end."""

    def __post_init__(self):
        check_name(self.dataset)
        spec = WideResNetSpec(self.depth, self.widen_factor, self.dropout, shortcut=self.shortcut)
        checked = {name: getattr(spec, name) for name in NETWORK_FIELDS}
        for name in ("batch_size", "iterations"):
            checked[name] = check_count(name, getattr(self, name))
        if self.epochs is not None:
            checked["epochs"] = check_count("epochs", self.epochs)
        for name in ("learning_rate", "weight_decay"):
            checked[name] = check_number(name, getattr(self, name))
        for name in ("nesterov", "augment", "evaluate"):
            checked[name] = check_flag(name, getattr(self, name))
        check_precision(self.precision)
        checked["momentum"] = check_share("momentum", self.momentum)
        require(self.momentum or not self.nesterov,
                "nesterov needs a momentum above 0, such as 0.9")
        for name in ("seed", "validation"):
            checked[name] = check_count(name, getattr(self, name), least=0)
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # how a frozen dataclass sets its own fields

    @property
    def settings(self) -> dict:
        """CNNEnv's keywords: these fields, without those that a subclass adds."""
        return {field.name: getattr(self, field.name) for field in fields(TrainingConfig)}

    def network_spec(self, dataset) -> WideResNetSpec:
        """The network that these settings mean for `dataset`."""
        return WideResNetSpec(self.depth, self.widen_factor, self.dropout,
                              len(dataset.class_names), dataset.volume_shape, self.shortcut)

    def total_iterations(self, num_examples: int) -> int:
        """How long to train; an epoch's incomplete last batch is dropped."""
        if self.epochs is not None:
            return self.epochs * (num_examples // self.batch_size)
        return self.iterations


# What decides a run's result: a run that goes on with another value of these is another run.
RESULT_FIELDS = tuple(field.name for field in fields(TrainingConfig) if field.name not in
                      ("data_dir", "iterations", "epochs", "evaluate"))
# Of them, those that a run can still change. DATA is what `Dataset.fingerprint` says.
DATA = "data"
RUN_FIELDS = (*RESULT_FIELDS, "save_every", "on_nan")  # those of a run that is kept
OVERRIDABLE = (DATA, *(name for name in RUN_FIELDS if name not in
                       ("depth", "widen_factor", "shortcut")))
ON_NAN = ("stop", "restore")


@dataclass(frozen=True)
class RunConfig(TrainingConfig):
    """A run's settings, and what is kept of it."""

    output: Path | None = None
    """Folder for the run's logs and checkpoints; none are kept without."""
    save_every: int = 100
    """Iterations from one checkpoint to the next; the last three are kept, and the best."""
    resume: bool = False
    """Go on with the run in --output, from its newest whole checkpoint."""
    override: tuple[str, ...] = ()
    """Settings that may differ from those of the run that is gone on with, such as batch_size."""
    on_nan: str = "stop"
    """Where the loss is no number any more: stop, or restore the last regular checkpoint and go
    on from there with half the learning rate."""

    def __post_init__(self):
        super().__post_init__()
        check_count("save_every", self.save_every)
        require(self.on_nan in ON_NAN,
                f"on_nan is {self.on_nan!r}, but must be {' or '.join(ON_NAN)}")
        require(self.output or not (self.resume or self.override or self.on_nan == "restore"),
                "resume, override and on_nan need the folder of the run: name it with --output")
        override = tuple(name.replace("-", "_") for name in self.override)
        for name in override:
            require(name in OVERRIDABLE, f"override has {name!r}, but can have "
                                         f"{', '.join(OVERRIDABLE)}")
        object.__setattr__(self, "override", override)


def configuration(spec, settings):
    """CNNEnv's keywords as a TrainingConfig; where `spec` is given, the network is its.

    Raises TypeError, as Python does for a keyword that is none, and names those that there are.
    """
    names = [field.name for field in fields(TrainingConfig)]
    for name in settings:
        if name not in names:
            raise TypeError(f"CNNEnv has no setting {name!r}: they are spec, {', '.join(names)}")
    if spec is None:
        return TrainingConfig(**settings)
    require(isinstance(spec, WideResNetSpec), f"spec is {spec!r}, but must be a WideResNetSpec")
    both = [name for name in NETWORK_FIELDS if name in settings]
    require(not both, f"spec says what the network is, so leave out {', '.join(both)}")
    return TrainingConfig(**settings, **{name: getattr(spec, name) for name in NETWORK_FIELDS})

