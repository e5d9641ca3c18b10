"""The training loop of a run: train, save, validate, stop, and go back after divergence."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from signal import Signals
from typing import TypeVar

import numpy as np

from wrn3d.runs import divergence
from wrn3d.runs.config import RunConfig
from wrn3d.runs.folder import RunFolder, best_iteration, is_regular, ranked
from wrn3d.runs.lines import score_text
from wrn3d.runs.output import RunOutput
from wrn3d.system.checks import require
from wrn3d.system.errors import DivergedError, Stopped
from wrn3d.system.signals import NAMES, StopRequest
from wrn3d.system.words import counted
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.config import DATA, DESCRIPTION, METRICS
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.own_functions import differing
from wrn3d.training.step import StepResult

Item = TypeVar("Item")


class TrainingLoop:
    """Train a run's remaining iterations; iterating over the loop yields a StepResult for each.

    Every `save_every` iterations and at the end, the loop evaluates the validation split, if the
    data has one. With a `folder`, which only the first of several workers has, it also saves a
    checkpoint then and when `stop` is set, and it keeps the best checkpoint. `report` receives
    lines about evaluations and divergence.

    Raises Stopped if a worker was asked to stop, and DataError or MissingDataError if the end of
    the run cannot be saved. Raises DivergedError if a loss or weight is NaN or infinite. With
    `on_nan="restore"`, the loop instead goes back with half the learning rate and yields earlier
    iterations again, until that rate becomes too small.
    """

    def __init__(
        self,
        environment: TrainingEnvironment,
        config: RunConfig,
        stop: StopRequest,
        folder: RunFolder | None = None,
        report: Callable[[str], object] = print,
    ) -> None:
        self.environment, self.config, self.stop = environment, config, stop
        self.folder, self.report = folder, report
        self.output = RunOutput(folder) if folder else None
        self.takes_snapshots = bool(folder or (environment.worker.index and config.output))
        self.total = config.total_iterations(environment.num_examples)
        self.validates = len(environment.dataset.validation_labels) > 0
        self.best_score = -1.0
        self.since_best = 0  # evaluations
        self.saved: int | None = None  # the last iteration with a checkpoint
        self.validated: int | None = None  # the last iteration with an evaluation
        self.ended: int | None = None  # the last iteration, once the state is the best one
        self.finite = divergence.FiniteCheck()

    def start(self, checkpoint: Checkpoint | None = None) -> None:
        """Restore a checkpoint of the folder, if one is given, and start or continue the logs.

        Raises UsageError if the checkpoint comes from other data and `override` does not name the
        data, or if the validation split lacks a class that the AUC needs.
        """
        environment = self.environment
        environment.worker.check_same_everywhere(
            f"{self.config.save_every} {self.config.on_nan} {self.config.output is None} "
            f"{self.config.patience}"
        )
        self._check_validation_split()
        if checkpoint is not None:
            self._check_origin(checkpoint)
            if self.folder and METRICS in self.config.override:
                self.folder.validations.adapt()
            environment.restore(checkpoint, self.config.seed)
            self.saved = checkpoint.iteration
        if environment.worker.all_max(checkpoint is not None):
            environment.adopt_state_of_first()
        self._start_folder()

    def __iter__(self) -> Iterator[StepResult]:
        while True:
            try:
                self.check_stop()
                self._validate()  # after the previous iteration, or after resuming
                if self.environment.iteration >= self.total or self._has_lost_patience():
                    self._draw_final_curves()
                    return
                result = self._train_one()
            except DivergedError as error:
                self._go_back(error)
            else:
                yield result

    def check_stop(self) -> None:
        """Save and raise Stopped if any worker was asked to stop."""
        number = self.environment.worker.all_max(self.stop.number or 0)
        if not number:
            return
        iteration = self.ended or self.environment.iteration
        if self.takes_snapshots and self.saved != iteration:
            self._save(must=True)
        self._draw_final_curves()
        message = f"stopped by {NAMES[Signals(number)]} after iteration {iteration} of {self.total}"
        if self.folder:
            message += f": saved in {self.folder.path}, add --resume to continue"
        raise Stopped(number, message)

    def until_stopped(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield `batches`; raise Stopped between two of them if a worker was asked to stop."""
        for number, batch in enumerate(batches):
            if number % self.environment.worker.count == 0:  # the workers share the batches
                self.check_stop()
            yield batch

    def _train_one(self) -> StepResult:
        result = self.environment.step()
        self.finite.check_loss(result)
        is_last = result.iteration == self.total
        if self.output:
            size = self.config.size_at(result.iteration - 1, self.total)
            self.output.add(result, *self.environment.epoch, size, must=is_last)
        if self._is_due():
            if self.takes_snapshots:
                self._save(must=is_last)
            else:  # a run without a folder diverges by the same rule
                self.finite.check_weights(self.environment.get_weights(), result.iteration)
            if self.output:
                self.output.draw_curves()
        return result

    def _validate(self) -> None:
        """Evaluate the validation split if that is due and not done yet."""
        iteration = self.environment.iteration
        if not (self.validates and self._is_due()) or self.validated == iteration:
            return
        result = self.environment.evaluate("validation", self.until_stopped)
        score = result.by_name[self.config.best_by]
        is_best = ranked(score) > ranked(self.best_score)
        self.since_best += 1
        if is_best:
            self.best_score, self.since_best = score, 0
        if self.output:
            best = self._state() if is_best else None
            self.output.add_validation(iteration, result, best, must=iteration == self.total)
        self.validated = iteration
        dataset = self.environment.dataset
        self.report(
            f"validation {iteration}/{self.total}  loss {result.loss:.6f}  "
            f"{score_text(result, self.config, dataset)}  "
            f"({counted(len(dataset.validation_labels), 'image')}"
            f"{', the best so far' if is_best else ''})"
        )

    def _has_lost_patience(self) -> bool:
        """Return whether `patience` ends the run here; if so, save and report it."""
        if self.config.patience is None or self.since_best < self.config.patience:
            return False
        if self.takes_snapshots and self.saved != self.environment.iteration:
            self._save(must=True)
        self.report(
            f"stopped   early: {counted(self.since_best, 'evaluation')} without a better "
            f"{self.config.best_by}"
        )
        return True

    def go_to_best(self) -> bool:
        """Restore the best checkpoint, and return whether it is another than the present state."""
        environment, best = self.environment, None
        if self.folder and self.validates:
            best, _ = self.folder.best(self.config.best_by)
        is_other = best is not None and best.iteration != environment.iteration
        if not environment.worker.all_max(is_other):
            return False
        self.ended = environment.iteration
        if best is not None:
            environment.restore(best, self.config.seed)
        environment.adopt_state_of_first()
        return True

    def _go_back(self, error: DivergedError) -> None:
        """Go back with half the learning rate, or raise the error with advice."""
        environment = self.environment
        scale = environment.learning_rate_scale / 2
        if self.config.on_nan == "stop" or scale < divergence.SMALLEST_SCALE:
            self._draw_final_curves()
            raise divergence.final_error(error, environment, self.folder) from error
        checkpoint, skipped = divergence.go_back(environment, self.config, self.folder)
        self.saved = checkpoint.iteration if checkpoint else None
        self._start_folder()
        for line in skipped:
            self.report(line)
        self.report(
            f"restored  iteration {environment.iteration}, with the learning rate times "
            f"{scale:g}: {error}"
        )

    def _is_due(self) -> bool:
        """Return whether a checkpoint and an evaluation are due after this iteration."""
        iteration = self.environment.iteration
        return iteration == self.total or is_regular(iteration, self.config.save_every)

    def _state(self) -> Checkpoint:
        """Take a snapshot that also has the run's settings, such as `save_every`."""
        state = self.environment.snapshot()
        names = (*self.config.result_fields, *DESCRIPTION)
        settings = state.config | vars(self.config)
        config = {name: value for name, value in settings.items() if name in names}
        return replace(state, config=config)

    def _save(self, must: bool) -> None:
        """Save a checkpoint if the weights are finite, else raise DivergedError.

        All workers check their weights, so all of them go back together.
        """
        state = self._state()
        self.finite.check_weights(state.weights, state.iteration)
        if self.output and self.output.save(state, must):
            self.saved = state.iteration

    def _start_folder(self) -> None:
        self.validated, self.since_best, self.best_score = None, 0, -1.0
        if self.folder and self.output:
            iteration = self.environment.iteration
            self.output.start(iteration, self.validates)
            self.best_score = self.folder.best(self.config.best_by)[1]
            scores = self.folder.validations.column(self.config.best_by)
            if iteration in scores:
                self.validated = iteration
            best = best_iteration(scores) or 0
            self.since_best = sum(one > best for one in scores)
        # Only the first worker has the folder.
        own = np.array([self.best_score, self.since_best, self.validated or 0], np.float64)
        [sent] = self.environment.worker.broadcast([own])
        self.best_score, self.since_best = float(sent[0]), int(sent[1])
        self.validated = int(sent[2]) or None

    def _draw_final_curves(self) -> None:
        if self.output:
            self.output.draw_curves(force=True)

    def _check_validation_split(self) -> None:
        dataset = self.environment.dataset
        require(
            self.config.best_by != "auc"
            or not self.validates
            or len(set(dataset.validation_labels)) == len(dataset.class_names),
            f"the validation split of {dataset.title} lacks a class, so its AUC is undefined: "
            "raise --validation, or choose --best-by accuracy",
        )
        require(
            self.validates or self.config.patience is None,
            f"patience needs a validation split, which {dataset.title} lacks: set training images "
            "aside with --validation",
        )

    def _check_origin(self, checkpoint: Checkpoint) -> None:
        environment, override = self.environment, self.config.override
        require(
            checkpoint.config.get(DATA) == environment.fingerprint or DATA in override,
            f"{environment.dataset.origin} holds other data than the run in {self.config.output} "
            f"was trained on: put those back, or add --override {' '.join([*override, DATA])}",
        )
        others = [
            kind
            for kind in differing(checkpoint.config, environment.functions.names)
            if kind not in override
        ]
        require(
            not others,
            f"the run in {self.config.output} had {' and '.join(others)} of its own, other than "
            f"now: use the run's own, or add --override {' '.join([*override, *others])}",
        )
