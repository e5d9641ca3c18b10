"""What a run is: one dataclass, whose fields are the scripts' flags and CNNEnv's keywords."""

from dataclasses import dataclass, fields
from os import PathLike, fspath
from pathlib import Path

from wrn3d.data.augmentation import AXES, Augmentation
from wrn3d.data.load import check_name
from wrn3d.network.spec import PAPER_STRIDES, WideResNetSpec
from wrn3d.network.wide_resnet import check_precision
from wrn3d.system.checks import (
    check_choice,
    check_count,
    check_each,
    check_flag,
    check_number,
    check_part,
    check_share,
    require,
)
from wrn3d.training.schedules import SCHEDULES

OPTIMIZERS = ("sgd", "muon", "adam")
SCORES = ("accuracy", "auc")
BATCH_NORMS = ("synchronised", "local")
NETWORK_FIELDS = ("depth", "widen_factor", "dropout", "shortcut", "strides")  # a spec has them, too


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run; the defaults are the original scripts'.

    Raises UsageError (a ValueError) for values that make no run.
    """

    dataset: str = "cifar10"
    """cifar10, cifar100, digits (real handwritten digits, embedded: no download), or the path of
    an .npz file of images or volumes in MedMNIST's format, or of a folder of pictures with
    train/<class>/ and test/<class>/ in it."""
    data_dir: Path = Path("data")
    """Where CIFAR lies, or goes when it is downloaded."""
    volume_size: int | None = None
    """Longest side to which all images or volumes are resized; pictures from folders are cut to
    squares."""
    validation: int = 0
    """Training images to set aside, the last ones; by them the best checkpoint is chosen."""
    best_by: str = "accuracy"
    """By which score on the validation split the best checkpoint is chosen: accuracy, or auc (the
    area under the ROC curve), where some classes are rare."""
    depth: int = 28
    """Layers of the network, 6n + 4 with n blocks in each of the three groups."""
    widen_factor: int = 4
    """The paper's k: groups of 16k, 32k and 64k filters."""
    dropout: float = 0.0
    """Share of activations dropped between a block's convolutions (the paper: 0.3)."""
    shortcut: str = "pad"
    """pad (the original script's) or projection (the paper's), where the channels change."""
    strides: tuple[int, int, int] = PAPER_STRIDES
    """Strides of the three groups, which make the volumes smaller (the paper: 1, 2, 2)."""
    batch_size: int = 64
    """Images in an iteration."""
    iterations: int = 10
    """Iterations to train."""
    epochs: int | None = None
    """Passes over the training images; decides, if given, instead of --iterations."""
    optimizer: str = "sgd"
    """sgd; muon, which learns more in an iteration by making each kernel's momentum an orthogonal
    matrix; or adam."""
    learning_rate: float = 0.01
    """Step size, or where a --schedule starts from."""
    schedule: str = "constant"
    """constant; steps, down by --milestone-factor at each of --milestones; or linear or cosine,
    down to zero at the end."""
    warmup: float = 0.0
    """Share of the run in which the learning rate rises to --learning-rate."""
    milestones: tuple[float, ...] = (0.3, 0.6, 0.8)
    """Where --schedule steps goes down, in shares of the run."""
    milestone_factor: float = 0.2
    """What --schedule steps multiplies the learning rate by."""
    momentum: float = 0.0
    """Share of the last update that carries on (the paper: 0.9)."""
    nesterov: bool = False
    """Look ahead along the momentum (the paper does)."""
    weight_decay: float = 0.0
    """Share of each weight added to its gradient (the paper: 5e-4); with muon, of each kernel taken
    away at an iteration, times the learning rate."""
    label_smoothing: float = 0.0
    """Share of each label that is given to all classes alike."""
    class_weights: bool = False
    """Weigh each class's loss by how rare it is, so that all count the same."""
    averaging: float = 0.0
    """Evaluate with an average of the weights, taken every five iterations, instead of the last
    ones: the share of it that each iteration keeps, such as 0.99."""
    precision: str = "float32"
    """float32, or bfloat16 for the convolutions (faster on CPUs with AVX512_BF16 or AMX)."""
    augment: bool = False
    """Crop at random after reflecting --crop-padding on each side, flip, and cut out."""
    crop_padding: int = 4
    """Pixels or voxels on each side."""
    flip_axes: tuple[str, ...] = ("width",)
    """Axes along which half of the images are mirrored: depth, height, width."""
    alternate_flips: bool = False
    """Mirror each image along the width in every other epoch, along the height half and along the
    depth a quarter as often, instead of at random."""
    cutout: int = 0
    """Side of the square or cube that is cut out of each training image."""
    batch_norm: str = "synchronised"
    """Of several workers: synchronised, by the statistics of the whole batch, as one worker would;
    or local, by each worker's own rows, which needs fewer messages."""
    sizes: tuple[float, ...] = ()
    """Sizes of the training images, as shares of the data's, one after the other, each for as long;
    one that is named twice lasts as long as two."""
    seed: int = 0
    """Decides initial weights, order, crops, flips and dropout."""
    evaluate: bool = False
    """Report the test accuracy at the end."""
    mirror: bool = False
    """Report it also for the mean of each image's and its mirror images' probabilities, along
    --flip-axes."""

    def __post_init__(self):
        require(
            isinstance(self.data_dir, (str, PathLike)),
            f"data_dir is {self.data_dir!r}, but must be a folder's path",
        )
        dataset = fspath(self.dataset) if isinstance(self.dataset, PathLike) else self.dataset
        check_name(dataset)
        spec = WideResNetSpec(**self.network_settings)
        checked = {name: getattr(spec, name) for name in NETWORK_FIELDS}
        checked |= {"dataset": dataset, "data_dir": Path(self.data_dir)}
        for name in ("batch_size", "iterations"):
            checked[name] = check_count(name, getattr(self, name))
        for name in ("epochs", "volume_size"):
            if getattr(self, name) is not None:
                checked[name] = check_count(name, getattr(self, name))
        for name in ("seed", "validation", "crop_padding", "cutout"):
            checked[name] = check_count(name, getattr(self, name), least=0)
        for name in ("learning_rate", "weight_decay", "milestone_factor"):
            checked[name] = check_number(name, getattr(self, name))
        for name in ("momentum", "warmup", "label_smoothing", "averaging"):
            checked[name] = check_share(name, getattr(self, name))
        for name in (
            "nesterov",
            "class_weights",
            "augment",
            "alternate_flips",
            "evaluate",
            "mirror",
        ):
            checked[name] = check_flag(name, getattr(self, name))
        check_precision(self.precision)
        check_choice("best_by", self.best_by, SCORES)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("batch_norm", self.batch_norm, BATCH_NORMS)
        check_choice("schedule", self.schedule, SCHEDULES)
        checked["milestones"] = check_each("milestones", self.milestones, check_share)
        checked["sizes"] = check_each("sizes", self.sizes, check_part)
        checked["flip_axes"] = check_each("flip_axes", self.flip_axes, check_choice, AXES)
        require(
            self.momentum or not self.nesterov, "nesterov needs a momentum above 0, such as 0.9"
        )
        require(
            self.optimizer != "adam" or not (self.momentum or self.weight_decay),
            "adam takes no momentum, nesterov or weight_decay: set those to 0, no and 0",
        )
        require(
            self.optimizer != "muon" or self.momentum, "muon needs a momentum above 0, such as 0.9"
        )
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # how a frozen dataclass sets its own fields

    @property
    def settings(self) -> dict:
        """CNNEnv's keywords: these fields, without those that a subclass adds."""
        return {field.name: getattr(self, field.name) for field in fields(TrainingConfig)}

    @property
    def network_settings(self) -> dict:
        """Those of WideResNetSpec's keywords that are settings."""
        return {name: getattr(self, name) for name in NETWORK_FIELDS}

    def network_spec(self, dataset) -> WideResNetSpec:
        """The network that these settings mean for `dataset`."""
        return WideResNetSpec(
            **self.network_settings,
            num_classes=len(dataset.class_names),
            input_shape=dataset.volume_shape,
        )

    @property
    def augmentation(self) -> Augmentation | None:
        """What is done to training images, if anything is."""
        return (
            Augmentation(self.crop_padding, self.flip_axes, self.alternate_flips, self.cutout)
            if self.augment
            else None
        )

    def size_at(self, iteration, total) -> float:
        """Return the images' size after `iteration` iterations, as a share of the data's."""
        if not self.sizes:
            return 1.0
        return self.sizes[min(len(self.sizes) * iteration // total, len(self.sizes) - 1)]

    def total_iterations(self, num_examples: int) -> int:
        """How long to train; an epoch's incomplete last batch is dropped."""
        if self.epochs is not None:
            return self.epochs * (num_examples // self.batch_size)
        return self.iterations


LENGTH_FIELDS = ("iterations", "epochs")
# What decides a run's result: a run that goes on with another value of these is another run.
RUN_FIELDS = (
    *(
        field.name
        for field in fields(TrainingConfig)
        if field.name not in ("data_dir", *LENGTH_FIELDS, "evaluate", "mirror")
    ),
    "save_every",
    "on_nan",
)
DATA = "data"  # what `Dataset.fingerprint` says, and
CLASSES = "classes"  # their names: what a checkpoint's config has beside the settings
# What a run can still change: not what has weights or momentum of its own.
OVERRIDABLE = (
    DATA,
    *LENGTH_FIELDS,
    *(
        name
        for name in RUN_FIELDS
        if name not in ("depth", "widen_factor", "shortcut", "strides", "optimizer")
    ),
)
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
        check_choice("on_nan", self.on_nan, ON_NAN)
        require(
            self.output or not (self.resume or self.override or self.on_nan == "restore"),
            "resume, override and on_nan need the folder of the run: name it with --output",
        )
        override = tuple(name.replace("-", "_") for name in self.override)
        for name in override:
            require(
                name in OVERRIDABLE, f"override has {name!r}, but can have {', '.join(OVERRIDABLE)}"
            )
        object.__setattr__(self, "override", override)

    @property
    def defaults(self) -> dict:
        """Each setting's, which a checkpoint from before there was the setting had."""
        return {field.name: field.default for field in fields(self)}

    @property
    def run_fields(self) -> tuple[str, ...]:
        """The settings that decide this run's result; also how long it is, where what it does
        depends on how much of it is over."""
        scheduled = self.schedule != "constant" or self.warmup or self.sizes
        return RUN_FIELDS + (LENGTH_FIELDS if scheduled else ())
