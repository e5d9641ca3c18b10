"""A training run whose iterations the caller drives: CNNEnv without its framework."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from wrn3d.data.batches import own_batch
from wrn3d.data.dataset import Dataset
from wrn3d.distributed.workers import check_workers, find_rank
from wrn3d.network.models import as_keras_model
from wrn3d.network.spec import WideResNetSpec
from wrn3d.network.variables import (
    assign,
    fitting_arrays,
    named_variables,
    network_order,
    set_dropout,
    trained_names,
    values,
)
from wrn3d.system.checks import check_flag, check_number, require
from wrn3d.system.interrupts import complete, uninterrupted
from wrn3d.system.memory import enough_for
from wrn3d.system.tensorflow_setup import check_no_strategy
from wrn3d.training import state, step
from wrn3d.training.averaging import WeightAverage
from wrn3d.training.checkpoint import NUMBERS, Checkpoint
from wrn3d.training.feed import Feed, Position, Selection
from wrn3d.training.inference import Inference
from wrn3d.training.initial import InitialWeights
from wrn3d.training.norms import Norms, norm_meter
from wrn3d.training.original import OriginalAttributes, alias
from wrn3d.training.own_functions import Loss, Metric, OwnFunctions
from wrn3d.training.recipes import configuration
from wrn3d.training.schedules import learning_rate
from wrn3d.training.start import check_data, open_dataset, start_worker
from wrn3d.training.step import StepResult


class TrainingEnvironment(Inference, OriginalAttributes, state.NotCopyable):
    """A training run in which each iteration is a call; a subclass adds the framework.

    The keywords are TrainingConfig's fields (`evaluate` and `mirror` concern the scripts alone) and
    `recipe`, which gives the others their defaults. Schedules run over `total` iterations, which
    follow from `iterations` or `epochs`.

    `spec` replaces depth, widen_factor, dropout, shortcut and strides. `data`, a Dataset, replaces
    the one that the setting `dataset` names; `validation`, `volume_size` and `window` apply to it,
    too. `loss` replaces the cross-entropy: a function of labels (N,) and logits (N, classes) that
    returns the losses (N,) in TensorFlow ops. `metrics` are functions of labels and probabilities
    (N, classes) by name, for `evaluate`. A subclass may have both as attributes instead.

    Raises UsageError (a ValueError) for invalid settings, NotEnoughMemoryError if training would
    not fit into memory, and what `load_dataset` raises.
    """

    dataset = alias("feed.dataset")  # the Dataset that the run trains and measures on
    fingerprint = alias("feed.loaded.fingerprint")  # of the data before the validation split
    num_examples = alias("feed.num_examples")  # training images
    loss: Loss | None = None
    metrics: Mapping[str, Metric] = MappingProxyType({})

    def __init__(
        self,
        *,
        spec: WideResNetSpec | None = None,
        data: Dataset | None = None,
        loss: Loss | None = None,
        metrics: Mapping[str, Metric] | None = None,
        **settings: Any,
    ) -> None:
        self.config = configuration(spec, settings)
        metrics = self.metrics if metrics is None else metrics
        self.functions = OwnFunctions.checked(loss or self.loss, metrics, self.config)
        self.feed = Feed(open_dataset(data, self.config, settings, spec), self.config)
        self._has_own_data = data is not None
        self.spec = spec or self.config.network_spec(self.dataset)
        check_data(self.spec, self.dataset, self.config)
        init = self.config.init if find_rank().rank == 0 else None
        self.initial = InitialWeights.of(init, self.spec, self.dataset.class_names)
        self.worker = start_worker(self.spec, self.dataset, self.config, self.feed.loaded)
        self.worker.check_same_everywhere(str(self.functions.names))
        self.build()
        self.optimizer.build(self.model.trainable_weights)
        self.optimizer.order = network_order(self.model, self.spec)
        decay = self.config.averaging
        self.average = WeightAverage(named_variables(self.model), decay) if decay else None
        self._measure_norms = norm_meter(self.model, self.optimizer)
        self._go_to(Checkpoint({}), self.config, self.feed.selection)  # as after `reset`
        if self.worker.all_max(bool(self.initial.arrays)):  # only the first worker reads them
            self.reset()
            self.adopt_state_of_first()

    @uninterrupted()
    def step(
        self,
        images: Any = None,
        labels: Any = None,
        *,
        update: bool = True,
        learning_rate: float | None = None,
        momentum: float | None = None,
        weight_decay: float | None = None,
        dropout: float | None = None,
    ) -> StepResult:
        """Train ONE iteration on the next batch.

        An exception from outside, such as Ctrl-C's, gets out before the iteration or after it.

        Args:
            images, labels: train on this batch instead, volumes (N, D, H, W, C) and labels (N,) as
                `next_batch` gives them. This does not use up the next batch.
            update: with False the run's state does not change; the result is the one that the
                iteration would give.
            learning_rate: replaces the schedule's in this iteration.
            momentum, weight_decay, dropout: replace the run's in this iteration. A setting that is
                0 in the run cannot be replaced.

        Raises UsageError for invalid settings, a batch that does not fit the network or cannot be
        cut into the run's shards, or inside `averaged`. Raises NotEnoughMemoryError if the batch
        does not fit into memory.
        """
        if check_flag("update", update):
            self._check_last_weights()
        rate = self.learning_rate if learning_rate is None else learning_rate
        rate = check_number("learning_rate", rate)
        chosen = {"momentum": momentum, "weight_decay": weight_decay, "dropout": dropout}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        self._prepare(chosen)
        start = time.perf_counter()
        try:
            if update:
                loss, accuracy, count = self._update(images, labels, rate)
            else:
                loss, accuracy, _, count = self._evaluate_without_update(images, labels)
        finally:
            if chosen:
                complete(self._prepare)
        iteration = self.iteration if update else self.iteration + 1
        return StepResult(iteration, loss, accuracy, rate, count, time.perf_counter() - start)

    @property
    def learning_rate(self) -> float:
        """The next iteration's learning rate by the schedule, lowered by `learning_rate_scale`."""
        return self.learning_rate_scale * learning_rate(self.config, self.iteration, self.total)

    @property
    def total(self) -> int:
        """Iterations of the whole run."""
        return self.config.total_iterations(self.num_examples)

    @property
    def loss_settings(self) -> dict[str, Any]:
        """The keywords of `ops.cross_entropy` and of the classes in `losses`."""
        weights = self.feed.whole.class_weights.tolist() if self.config.class_weights else None
        own = {"own": self.functions.loss} if self.functions.loss else {}
        return {"smoothing": self.config.label_smoothing, "class_weights": weights} | own

    def _update(self, images: Any, labels: Any, rate: float) -> tuple[float, float, int]:
        """Train one iteration; return (loss, accuracy, samples)."""
        before, position = self.iteration, self.feed.position
        try:
            volumes, labels, count = self._batch(images, labels)
            with enough_for(count), self.worker.step(count):
                # An array: TensorFlow keeps every Python number it has seen, for good.
                scores = self.train_batch(volumes, labels, np.asarray(rate, np.float32))
            self._count(before + 1)
        except BaseException as error:
            if step.has_failed(error) or int(self.optimizer.iterations.numpy()) == before:
                self.feed.position = position  # the batch is still the next
            else:  # another thread raised it here after the update
                complete(lambda: self._count(before + 1))
            raise
        return *step.reduce_scores(self.worker, *scores, len(labels), count), count

    def _count(self, iteration: int) -> None:
        self.iteration = iteration
        if self.average:
            self.average.update(iteration)

    def _prepare(self, chosen: Mapping[str, Any] | None = None) -> None:
        """Set the next iteration's momentum, weight decay and dropout: `chosen`, or the run's."""
        current = step.adjusted_settings(self.config, chosen or {})
        # Keras's `fit`, for example, may have moved the masks' position and Adam's count.
        set_dropout(self.model, current["dropout"], self.config.seed, self.iteration)
        self.optimizer.adjust(self.iteration, current["momentum"], current["weight_decay"])

    @property
    def epoch(self) -> tuple[int, bool]:
        """The last iteration's epoch, from 1, and whether it was the epoch's last iteration."""
        return self.epochs_completed + 1, self.feed.epoch_ends

    @uninterrupted()
    def next_batch(self, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the next samples, as `step` takes them, and move on.

        Returns (volumes (N, D, H, W, C) float32, labels (N,) int64). An epoch's incomplete last
        batch is dropped. Raises UsageError for a batch larger than the training split.
        """
        return self._next_rows(batch_size, slice(0, batch_size))

    def use_only(self, rows: np.ndarray | None) -> None:
        """Train only on these rows of the training split; None stands for all rows.

        The rows also decide the normalisation and the length of an epoch. Class weights stay those
        of the whole split. Snapshots include the rows. Raises UsageError for fewer than a batch.
        """
        self.feed.selection = self.feed.select(rows)

    def _next_rows(self, batch_size: int, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        size = self.config.size_at(self.iteration, self.total)
        return self.feed.next_rows(batch_size, rows, self.config.seed, size)

    def _batch(self, images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, int]:
        """Return this worker's (volumes, labels) of a batch, and the batch's number of samples."""
        if images is None and labels is None:
            count = self.config.batch_size
            return *self._next_rows(count, self.worker.rows(count)), count
        shapes = self.config.volume_shapes(self.spec.input_shape)
        images, labels = own_batch(images, labels, shapes, self.nb_classes)
        check_workers(len(labels), self.worker.count, self.config.shards)
        rows = self.worker.rows(len(labels))
        return images[rows], labels[rows], len(labels)

    @uninterrupted()
    def gradients(self, images: Any = None, labels: Any = None) -> dict[str, np.ndarray]:
        """Return the loss's gradients before weight decay, {canonical name: float32 array}.

        Takes the same batch as `step`, and raises the same errors. The run's state does not change.
        """
        self._prepare()
        _, _, gradients, _ = self._evaluate_without_update(images, labels)
        return dict(zip(trained_names(self.model), map(np.array, gradients), strict=True))

    def norms(self) -> Norms:
        """Return the norms of the weights and of the last gradients."""
        check_no_strategy()
        return self._measure_norms()

    def _evaluate_without_update(self, images: Any, labels: Any) -> tuple[Any, Any, list[Any], int]:
        """Return (loss, accuracy, gradients, samples) of a batch without training on it."""
        averages, position = state.running_averages(self.model), self.feed.position
        before = values(averages)

        def go_back() -> None:
            assign(averages, before)
            self.feed.position = position
            self._prepare()

        try:
            volumes, labels, count = self._batch(images, labels)
            with enough_for(count), self.worker.step(count):
                loss, accuracy, gradients = self.loss_and_gradients(volumes, labels)
        finally:
            complete(go_back)
        loss, accuracy = step.reduce_scores(self.worker, loss, accuracy, len(labels), count)
        gradients = step.sum_over_workers(self.worker, gradients, self.optimizer.order)
        self.optimizer.note(gradients)
        return loss, accuracy, gradients, count

    @property
    def keras_model(self) -> Any:
        """The network with its last weights as a keras.Model, to save, export or train in Keras.

        The Keras script returns the run's own model, the TensorLayer script a copy. Inside
        `with env.averaged():` it has the EMA of the weights.
        """
        model = as_keras_model(self.model, self.spec, self.config.seed, self.config.precision)
        set_dropout(model, self.spec.dropout, self.config.seed, self.iteration)
        return model

    def get_weights(self) -> dict[str, np.ndarray]:
        """Return {canonical name: float32 array}, batch norm's running averages included."""
        return values(named_variables(self.model))

    @uninterrupted()
    def snapshot(self) -> Checkpoint:
        """Return the run's whole state; `restore` goes back to it, any number of times."""
        parts: dict[str, Any] = state.capture(self._state_variables(), self.average)
        parts |= self._numbers() | {"rows": self.feed.selection.rows}
        config = state.description(self.config, self.dataset, self.fingerprint, self._has_own_data)
        config |= self.functions.names
        normalisation = {"mean": self.mean, "std": self.std.reshape(1)}
        return Checkpoint(**parts, config=config, normalisation=normalisation)

    def save(self, path: str | Path) -> None:
        """Write the run's state as one safetensors file, which either front end loads."""
        self.snapshot().save(path)

    def reset(self, first: bool = False, *, seed: int | None = None) -> None:
        """Go back to the first weights, iteration 0 and the first batch, as after construction.

        Another `seed` makes it another run. `first`, which the original script had, has no effect.
        Raises UsageError for a seed that is not a whole number from 0 up.
        """
        config = self.config if seed is None else replace(self.config, seed=seed)
        self.restore(Checkpoint(self.initial.for_seed(self.spec, config.seed)), config.seed)

    @uninterrupted()
    def restore(self, checkpoint: Checkpoint, seed: int | None = None) -> None:
        """Continue from a checkpoint of either front end, with its seed or with `seed`.

        Uses the training rows that the checkpoint names. A missing momentum starts at zero, a
        missing average at the weights. Raises DataError (a ValueError) for another network or
        optimizer, or rows that the data lack, before it changes anything.
        """
        self._check_last_weights()
        state.check_checkpoint(checkpoint, self.config.optimizer, self.config.freeze)
        own = checkpoint.config.get("seed", self.config.seed)
        config = replace(self.config, seed=own if seed is None else seed)
        selection = self.feed.selection_of(checkpoint)
        variables = self._state_variables()
        arrays = state.fitting(variables, vars(checkpoint), self.spec.name)

        def change() -> None:
            state.restore(variables, arrays)
            self._go_to(checkpoint, config, selection)

        complete(change)

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Assign weights that `get_weights` returned, and restart the EMA from them.

        Raises DataError for names or shapes of another network, before it changes anything.
        """
        self._check_last_weights()
        arrays = fitting_arrays(
            named_variables(self.model), weights, f"weights for {self.spec.name}"
        )
        both = dict.fromkeys(state.EVALUATED, arrays)
        complete(lambda: state.restore(self._state_variables(), both))

    def load(self, path: str | Path) -> None:
        """Continue from a file that `save` wrote, with this run's settings and seed."""
        self.restore(Checkpoint.load(path), self.config.seed)

    def adopt_state_of_first(self) -> None:
        """Take over the state of the first worker, the only one that reads checkpoints."""
        if self.worker.count == 1:
            return
        own = Checkpoint({}, rows=self.feed.selection.rows, **self._numbers())
        checkpoint = state.broadcast(self._state_variables(), own, self.config.seed, self.worker)
        config = replace(self.config, seed=checkpoint.config["seed"])
        self._go_to(checkpoint, config, self.feed.selection_of(checkpoint))

    def _state_variables(self) -> dict[str, dict[str, Any]]:
        return state.state_variables(self.model, self.optimizer, self.average)

    def _numbers(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in NUMBERS}

    def _check_last_weights(self) -> None:
        require(
            not (self.average and self.average.last),
            "the model holds an average of its weights: leave `with env.averaged():` first",
        )

    def _go_to(self, checkpoint: Checkpoint, config: Any, selection: Selection) -> None:
        """Take over the checkpoint's position; its arrays are assigned already."""
        self.config, self.feed.selection = config, selection
        self.iteration = checkpoint.iteration
        self.feed.position = Position(checkpoint.epochs_completed, checkpoint.index_in_epoch)
        self.learning_rate_scale = checkpoint.learning_rate_scale
        self.optimizer.forget()  # the last gradients
        if self.average:
            self.average.forget()
        self._prepare()
