"""The settings of a run: a dataclass whose fields are the scripts' flags and CNNEnv's keywords."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from wrn3d.data.augmentation import AXES, Augmentation
from wrn3d.data.dataset import Dataset
from wrn3d.data.load import check_name
from wrn3d.data.resizing import longest, resized_shape
from wrn3d.data.splitting import Fold
from wrn3d.data.windows import check_window
from wrn3d.network.spec import PAPER_STRIDES, PARTS, SHORTCUTS, WideResNetSpec
from wrn3d.network.wide_resnet import PRECISIONS
from wrn3d.system.checks import (
    check_choice,
    check_count,
    check_each,
    check_flag,
    check_number,
    check_part,
    check_path,
    check_power_of_two,
    check_share,
    check_text,
    require,
)
from wrn3d.training.schedules import SCHEDULES

OPTIMIZERS = ("sgd", "muon", "adam")
SCORES = ("accuracy", "auc")
BATCH_NORMS = ("synchronised", "local")
NETWORK_FIELDS = ("depth", "widen_factor", "dropout", "shortcut", "strides")  # a spec has them, too
LENGTH_FIELDS = ("iterations", "epochs")
# A checkpoint's `config` holds these besides the settings: the data's fingerprint and title, the
# names of the classes, how the data were resized, the type and the spacing of their voxels, the
# window of their levels, the number of training images in use, and the own functions' names.
DATA, TITLE, CLASSES, IMAGES = "data", "title", "classes", "training_images"
RESIZING, VOXELS, SPACING, WINDOW = "resizing", "voxels", "spacing", "window"
LOSS, METRICS = "loss", "metrics"  # the names of own functions
DESCRIPTION = (DATA, TITLE, CLASSES, RESIZING, VOXELS, SPACING, WINDOW, IMAGES, LOSS, METRICS)

T = TypeVar("T")
Shape = tuple[int, ...]


def setting(
    default: T, check: Callable[..., Any], *arguments: Any, shown: str = "", **options: Any
) -> T:
    """Return a dataclass field whose value is checked.

    `check(name, value, *arguments, **options)` returns the value to use, or raises UsageError.
    --help shows the value as `shown`, or the choices if `check` is `check_choice`.
    """
    metadata: dict[str, Any] = {
        "check": lambda name, value: check(name, value, *arguments, **options)
    }
    if check_choice in (check, *arguments):
        ending = " ..." if check is check_each else ""
        shown = f"{{{','.join(arguments[-1])}}}{ending}"
    if shown:
        metadata["shown"] = shown
    return field(default=default, metadata=metadata)


def check_settings(config: Any) -> None:
    """Set each field of a frozen dataclass to the value that its check returns.

    Raises UsageError for an invalid value.
    """
    for one in fields(config):
        if "check" in one.metadata:
            value = one.metadata["check"](one.name, getattr(config, one.name))
            object.__setattr__(config, one.name, value)


def check_optional(name: str, value: Any, check: Callable[[str, Any], T]) -> T | None:
    """Return None for None, and else what `check(name, value)` returns."""
    return None if value is None else check(name, value)


def check_folds(name: str, value: Any) -> int:
    """Return a number of folds, 2 or more."""
    return check_count(name, value, least=2)


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run; the defaults are the original scripts'.

    Raises UsageError (a ValueError) for invalid values.
    """

    dataset: str = setting("cifar10", lambda _, value: check_name(value))
    """cifar10, cifar100, digits (real handwritten digits, embedded: no download), or the path of
    an .npz file of images or volumes in MedMNIST's format, of a table (.csv) with the columns path
    and label, or of a folder of pictures with train/<class>/ and test/<class>/ in it."""
    class_names: tuple[str, ...] = setting((), check_each, check_text)
    """Names of the classes of an .npz file, in the order of its labels; for a table, the order of
    its labels."""
    data_dir: Path = setting(Path("data"), check_path)
    """Folder that holds CIFAR, or receives it when it is downloaded."""
    volume_size: int | None = setting(None, check_optional, check_count)
    """Longest side to which all images or volumes are resized; pictures from folders are cropped
    to squares."""
    window: tuple[str, str] | None = setting(None, check_window, shown="LOW HIGH")
    """Lowest and highest intensity, such as -100 400, mapped to 256 levels (8 bits); or percentiles
    of each volume, such as 0.5% 99.5%. By default all numbers are kept."""
    validation: int = setting(0, check_count, least=0)
    """Training images to set aside for validation, the last ones; they choose the best
    checkpoint."""
    folds: int | None = setting(None, check_optional, check_folds)
    """Cross-validation: cut the training and validation images into this many folds, stratified by
    class, and keep one as the validation split."""
    fold: int = setting(0, check_count, least=0)
    """Number of the fold that validates, from 0."""
    best_by: str = setting("accuracy", check_text, shown=f"{{{','.join(SCORES)}}}")
    """Validation score that chooses the best checkpoint: accuracy, or auc (the area under the ROC
    curve), where some classes are rare; or an own metric."""
    depth: int = 28
    """Layers of the network, 6n + 4 with n blocks in each of the three groups."""
    widen_factor: int = 4
    """The paper's k: groups of 16k, 32k and 64k filters."""
    dropout: float = 0.0
    """Share of activations dropped between a block's convolutions (the paper: 0.3)."""
    shortcut: str = setting("pad", check_choice, SHORTCUTS)
    """pad (the original script's) or projection (the paper's), where the channels change."""
    strides: tuple[int, int, int] = PAPER_STRIDES
    """Strides of the three groups, which make the volumes smaller (the paper: 1, 2, 2)."""
    init: Path | None = setting(None, check_optional, check_path)
    """Start from the weights of a trained network: a name such as cifar10, a run's folder or a
    .safetensors file. The head is re-initialised if the classes differ."""
    freeze: tuple[str, ...] = setting((), check_each, check_choice, PARTS)
    """Parts of the network that keep their weights; their batch norm uses its running averages."""
    batch_size: int = setting(64, check_count)
    """Images in an iteration: the global batch size, shared among all workers."""
    shards: int = setting(1, check_power_of_two)
    """Equal parts into which each batch is cut, a power of two. With 2 or more, the result does not
    depend on the number of cores and workers; each part keeps one core busy."""
    portable: bool = setting(False, check_flag)
    """Compute the same bits on every x86 CPU with AVX2 and FMA, on Linux, in float32, with 2 shards
    or more; slower."""
    iterations: int = setting(10, check_count)
    """Iterations to train."""
    epochs: int | None = setting(None, check_optional, check_count)
    """Passes over the training images; replaces --iterations if given."""
    optimizer: str = setting("sgd", check_choice, OPTIMIZERS)
    """sgd; muon, which learns more per iteration by making each kernel's momentum an orthogonal
    matrix; or adam."""
    learning_rate: float = setting(0.01, check_number)
    """Learning rate, or the highest one of a --schedule."""
    schedule: str = setting("constant", check_choice, tuple(SCHEDULES))
    """constant; steps, times --milestone-factor at each of --milestones; or linear or cosine, down
    to zero at the end."""
    warmup: float = setting(0.0, check_share)
    """Share of the run in which the learning rate rises to --learning-rate."""
    milestones: tuple[float, ...] = setting((0.3, 0.6, 0.8), check_each, check_share)
    """Points of the run, as shares, where --schedule steps lowers the learning rate."""
    milestone_factor: float = setting(0.2, check_number)
    """Factor on the learning rate at each milestone."""
    momentum: float = setting(0.0, check_share)
    """Momentum: share of the last update that is kept (the paper: 0.9)."""
    nesterov: bool = setting(False, check_flag)
    """Nesterov momentum (the paper uses it)."""
    weight_decay: float = setting(0.0, check_number)
    """Share of each weight added to its gradient (the paper: 5e-4); with muon, the decoupled weight
    decay of the kernels, times the learning rate."""
    label_smoothing: float = setting(0.0, check_share)
    """Share of each label that is spread evenly over all classes."""
    class_weights: bool = setting(False, check_flag)
    """Weight each class's loss by how rare it is, so that all classes count the same."""
    averaging: float = setting(0.0, check_share)
    """Evaluate with an EMA of the weights instead of the last ones: the share of the average that
    each iteration keeps, such as 0.99. It is updated every five iterations."""
    precision: str = setting("float32", check_choice, PRECISIONS)
    """float32, or bfloat16 for the convolutions (faster on CPUs with AVX512_BF16 or AMX)."""
    augment: bool = setting(False, check_flag)
    """Crop at random after reflecting --crop-padding on each side, flip, and cut out."""
    crop_padding: int = setting(4, check_count, least=0)
    """Pixels or voxels reflected on each side before the random crop."""
    flip_axes: tuple[str, ...] = setting(("width",), check_each, check_choice, AXES)
    """Axes along which half of the images are mirrored: depth, height, width."""
    alternate_flips: bool = setting(False, check_flag)
    """Mirror each image along the width in every other epoch instead of at random; along the height
    half as often, along the depth a quarter as often."""
    cutout: int = setting(0, check_count, least=0)
    """Side of the square or cube that is cut out of each training image."""
    batch_norm: str = setting("synchronised", check_choice, BATCH_NORMS)
    """Batch norm's statistics: synchronised, over the global batch; or local, over each shard
    (ghost batch norm; with one shard, over each worker's rows), which is faster."""
    sizes: tuple[float, ...] = setting((), check_each, check_part)
    """Progressive resizing: sizes of the training images, as shares of the data's, one after the
    other for equal parts of the run; name a size twice and it lasts twice as long."""
    seed: int = setting(0, check_count, least=0)
    """Decides initial weights, order, crops, flips and dropout."""
    evaluate: bool = setting(False, check_flag)
    """Report the test accuracy at the end."""
    mirror: bool = setting(False, check_flag)
    """Also report the test accuracy with flip test-time augmentation: the mean over each image and
    its mirror images along --flip-axes."""

    def __post_init__(self) -> None:
        spec = WideResNetSpec(**self.network_settings)
        for name in NETWORK_FIELDS:
            object.__setattr__(self, name, getattr(spec, name))
        check_settings(self)
        require(
            self.momentum or not self.nesterov, "nesterov needs a momentum above 0, such as 0.9"
        )
        require(
            self.optimizer != "adam" or not (self.momentum or self.weight_decay),
            "adam does not use momentum or weight_decay: set both to 0",
        )
        require(
            self.precision == "float32" or not self.portable,
            "portable needs the precision float32: AVX2 has no instructions for bfloat16",
        )
        require(
            len(set(self.freeze)) < len(PARTS),
            "freeze names all parts of the network, so nothing would be trained: leave out fc",
        )
        require(
            self.fold < (self.folds or 1),
            f"fold is {self.fold}, but must be below folds, {self.folds or 'which is not set'}",
        )
        require(
            self.batch_size % self.shards == 0,
            f"batch_size is {self.batch_size}, but must be a multiple of shards, {self.shards}",
        )
        require(
            self.shards > 1 or not self.portable,
            "portable needs shards of 2 or more: with one, the number of cores decides the bits",
        )
        require(
            self.optimizer != "muon" or self.momentum,
            "muon needs a momentum above 0, such as 0.9",
        )

    @property
    def settings(self) -> dict[str, Any]:
        """CNNEnv's keywords: the fields of TrainingConfig, without those of a subclass."""
        return {one.name: getattr(self, one.name) for one in fields(TrainingConfig)}

    @property
    def network_settings(self) -> dict[str, Any]:
        """The settings that are WideResNetSpec's keywords."""
        return {name: getattr(self, name) for name in NETWORK_FIELDS}

    def network_spec(self, dataset: Dataset) -> WideResNetSpec:
        """Return the specification of the network for `dataset`."""
        return WideResNetSpec(
            **self.network_settings,
            num_classes=len(dataset.class_names),
            input_shape=dataset.volume_shape,
        )

    @property
    def has_schedule(self) -> bool:
        """Whether the learning rate follows from the iteration and the run's length."""
        return self.schedule != "constant" or self.warmup > 0

    @property
    def held_out(self) -> Fold | None:
        """The fold of the cross-validation, or None."""
        return Fold(self.fold, self.folds) if self.folds else None

    @property
    def augmentation(self) -> Augmentation | None:
        """The augmentation of the training images, or None."""
        if not self.augment:
            return None
        return Augmentation(self.crop_padding, self.flip_axes, self.alternate_flips, self.cutout)

    def size_at(self, iteration: int, total: int) -> float:
        """Return the images' size after `iteration` iterations, as a share of the data's."""
        if not self.sizes:
            return 1.0
        return self.sizes[min(len(self.sizes) * iteration // total, len(self.sizes) - 1)]

    def volume_shapes(self, input_shape: Shape) -> list[Shape]:
        """Return the shapes (D, H, W, C) that training batches may have."""
        *sides, channels = input_shape
        shapes = (resized_shape(sides, longest(sides, size)) for size in (1.0, *self.sizes))
        return [(*shape, channels) for shape in dict.fromkeys(shapes)]

    def total_iterations(self, num_examples: int) -> int:
        """Return the run's length; an epoch's incomplete last batch is dropped."""
        if self.epochs is not None:
            return self.epochs * (num_examples // self.batch_size)
        return self.iterations
