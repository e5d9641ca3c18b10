"""The part of CNNEnv that both scripts share: settings, iterations; the rest are its bases."""

import time
import warnings
from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from wrn3d.distributed.workers import check_workers, find_rank, find_worker
from wrn3d.network.parameters import initial_weights
from wrn3d.network.variables import named_variables, network_order, set_dropout
from wrn3d.system.checks import check_flag, check_number, check_share, require
from wrn3d.system.memory import enough_for
from wrn3d.system.tensorflow_setup import check_process, has_fast_bfloat16, import_tensorflow
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.feed import Feed
from wrn3d.training.inspection import Inspection
from wrn3d.training.memory_estimate import check_memory
from wrn3d.training.prediction import Prediction
from wrn3d.training.recipes import configuration
from wrn3d.training.schedules import learning_rate
from wrn3d.training.state import RunState

# What an iteration can have of its own, beside the learning rate, and what has to be true of it.
ADJUSTABLE = {"momentum": check_share, "weight_decay": check_number, "dropout": check_share}


@dataclass(frozen=True)
class StepResult:
    """One iteration: its number from 1 up, its batch's own loss and accuracy before the update,
    the learning rate that was used, the batch's size and the seconds that it took."""

    iteration: int
    loss: float
    accuracy: float
    learning_rate: float
    batch_size: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        return self.batch_size / self.seconds


class TrainingEnvironment(Feed, Inspection, Prediction, RunState):
    """A training run of which each iteration is a call; a subclass adds the framework.

    The keywords are TrainingConfig's fields, of which `evaluate` and `mirror` concern the scripts
    alone, and `recipe`, where those that are not given come from. `iterations` or `epochs` are
    `total`, over which schedules run. `spec`, if given, is the network instead of the one that
    depth, widen_factor, dropout, shortcut and strides describe. Raises UsageError (a ValueError)
    for settings that cannot be, and what `load_dataset` raises.

    A subclass has `build`, `train_batch`, `loss_and_gradients` and `logits`. After `build` there
    are `model`, a model of its framework, and `optimizer`, what `make_optimizer` gives.
    """

    def __init__(self, *, spec=None, **settings):
        check_process()
        self.config = configuration(spec, settings)
        self.open_data()
        self.spec = spec or self.config.network_spec(self.dataset)
        self._check_fit()
        rank = find_rank()
        check_workers(self.config.batch_size, rank.world_size)
        check_memory(self.spec, self.config, self.dataset.nbytes, rank.world_size, rank.local_count)

        self.batch_num = self.config.batch_size
        self.blocks_per_group = self.spec.blocks_per_group
        self.widening_factor = self.spec.widen_factor
        self.img_row, self.img_col, self.img_channels = self.dataset.volume_shape[1:]
        self.nb_classes = self.spec.num_classes

        import_tensorflow()  # before the script's own import of it: quietly
        if self.config.precision == "bfloat16" and not has_fast_bfloat16():
            warnings.warn(
                "precision bfloat16 is no faster than float32 here, so prefer that: no "
                "instructions for it are known (AVX512_BF16, AMX or a GPU that has them)",
                stacklevel=2,
            )
        self.worker = find_worker(
            self.config.batch_norm == "synchronised", single_depth=self.spec.input_shape[0] == 1
        )
        if self.worker.count > 1:
            settings_of_all = self.config.settings | {"data_dir": "", "dataset": ""}
            self.worker.check_same_everywhere(f"{settings_of_all} {self.fingerprint}")
        self.build()
        self.optimizer.build(self.model.trainable_weights)
        self.optimizer.order = network_order(self.model, self.spec)
        if self.config.averaging:
            from wrn3d.training.averaging import WeightAverage

            self.average = WeightAverage(named_variables(self.model), self.config.averaging)
        self._go_to(Checkpoint({}))  # built with fresh weights and no momentum: as after `reset`

    @abstractmethod
    def build(self):
        """Make `model` and `optimizer`, and what trains and evaluates them."""

    @abstractmethod
    def train_batch(self, volumes, labels, learning_rate):
        """One update from volumes (N, D, H, W, C) and labels (N,): (loss, accuracy) before it."""

    def reset(self, first=False, *, seed=None):
        """Fresh weights, no momentum, iteration 0 and the first batch, as after construction;
        with another `seed` as after construction with that.

        `first` is the original's, which had a session to close; it changes nothing here. Raises
        UsageError for a seed that is no whole number from 0 up.
        """
        if seed is not None:
            self.config = replace(self.config, seed=seed)
        self.restore(Checkpoint(initial_weights(self.spec, self.config.seed)))

    def step(
        self,
        images=None,
        labels=None,
        *,
        update=True,
        learning_rate=None,
        momentum=None,
        weight_decay=None,
        dropout=None,
    ) -> StepResult:
        """Train ONE iteration on the next batch, with `learning_rate` or else the schedule's.

        With images (N, D, H, W, C), as `next_batch` gives them, and labels (N,) it trains on
        those, and the next batch stays the next. With `update=False` nothing moves: the result is
        the one that the iteration would have. A run that has momentum, weight decay or dropout
        can have another for an iteration.

        Raises UsageError for settings that cannot be or a batch that does not fit,
        NotEnoughMemoryError where there is not enough for it.
        """
        check_flag("update", update)
        learning_rate = check_number(
            "learning_rate", self.learning_rate if learning_rate is None else learning_rate
        )
        chosen = {
            name: value
            for name, value in (
                ("momentum", momentum),
                ("weight_decay", weight_decay),
                ("dropout", dropout),
            )
            if value is not None
        }
        self._prepare(chosen)
        start = time.perf_counter()
        try:
            if update:
                loss, accuracy, count = self._iterate(images, labels, learning_rate)
            else:
                loss, accuracy, _, count = self._evaluate_without_update(images, labels)
        finally:
            if chosen:
                self._prepare()
        return StepResult(
            self.iteration + (not update),
            float(loss),
            float(accuracy),
            learning_rate,
            count,
            time.perf_counter() - start,
        )

    def _prepare(self, chosen=None):
        """Set what may differ between iterations: what is chosen, for the rest the settings'."""
        settings = {name: getattr(self.config, name) for name in ADJUSTABLE}
        for name, value in (chosen or {}).items():
            require(
                settings[name],
                f"{name} cannot be chosen for an iteration of a run that "
                f"has none: give its settings a {name} above 0",
            )
            settings[name] = ADJUSTABLE[name](name, value)
        self.optimizer.adjust(settings["momentum"], settings["weight_decay"])
        # The masks' position, too, which `fit`, for one, may have moved.
        set_dropout(self.model, settings["dropout"], self.config.seed, self.iteration)

    def _iterate(self, images, labels, learning_rate):
        """(loss, accuracy, samples) of an iteration."""
        position = self.epochs_completed, self.index_in_epoch
        try:
            images, labels, count = self._batch(images, labels)
            with enough_for(count), self.worker.step(count):
                # An array, since TensorFlow keeps each Python number that it has met, for good.
                scores = self.train_batch(images, labels, np.asarray(learning_rate, np.float32))
        except BaseException:  # Ctrl-C, too: what was not trained is still to come
            self.epochs_completed, self.index_in_epoch = position
            raise
        self.iteration += 1
        if self.average:
            self.average.update(self.iteration)
        return *self._reduce_scores(*scores, len(labels), count), count

    @property
    def learning_rate(self) -> float:
        """The next iteration's, if `step` is not told another: the schedule's, lowered by
        `learning_rate_scale` where the run diverged."""
        return self.learning_rate_scale * learning_rate(self.config, self.iteration, self.total)

    @property
    def loss_settings(self) -> dict:
        """The keywords of `ops.cross_entropy` and of `losses` that the settings mean."""
        return {
            "smoothing": self.config.label_smoothing,
            "class_weights": self._whole.class_weights.tolist()
            if self.config.class_weights
            else None,
        }

    def _check_fit(self):
        expected = (*self.dataset.volume_shape, len(self.dataset.class_names))
        require(
            (*self.spec.input_shape, self.spec.num_classes) == expected,
            f"spec is for volumes {self.spec.input_shape} of {self.spec.num_classes} classes, "
            f"but {self.dataset.title} has {expected[:-1]} and {expected[-1]}",
        )
        side = max(self.dataset.volume_shape[:-1])
        require(
            self.config.cutout < side,
            f"cutout is {self.config.cutout}, which leaves nothing "
            f"of sides of {side}: make it smaller",
        )
