"""A run from its first iteration, or from where it stopped, to its last."""

import math
import warnings
from dataclasses import replace

import numpy as np

from wrn3d.runs.folder import is_regular
from wrn3d.runs.watch import Watch
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, DivergedError, MissingDataError, Stopped
from wrn3d.system.signals import NAMES
from wrn3d.training.config import DATA, DESCRIPTION

SMALLEST_SCALE = 2.0**-10  # of the learning rate: a run that still diverges is given up


def scores(result, config, dataset) -> str:
    """An EvalResult's, for people; accuracy alone says little of two classes, or uneven ones."""
    said = f"accuracy {result.accuracy:.4f}"
    if config.best_by == "accuracy" and not dataset.is_uneven and len(dataset.class_names) > 2:
        return said
    return f"{said}  balanced {result.balanced_accuracy:.4f}  AUC {result.auc:.4f}"


class Training:
    """The iterations that are left of a run; going over it trains them, one StepResult each.

    `folder` is the run's RunFolder, or None where nothing is kept; of several workers the first
    has it. There a checkpoint is written after every `save_every` iterations, after the last, and
    where `stop`, a StopRequest, is asked for. After all but the last kind, where the data set has a
    validation split, the network is measured on it; the best is kept. `report` is given lines about
    that.

    Raises Stopped, DivergedError where the loss is no finite number (with `on_nan` "restore" it
    goes back instead, and yields earlier iterations once more), and DataError where the end of the
    run cannot be saved.
    """

    def __init__(self, environment, config, stop, folder=None, report=print):
        self.environment, self.config, self.report = environment, config, report
        self.stop, self.folder = stop, folder
        self.watch = Watch(folder.path) if folder else None
        self.keeps = bool(folder or (environment.worker.index and config.output))
        self.total = config.total_iterations(environment.num_examples)
        self.validates = len(environment.dataset.validation_labels) > 0
        self.best_score = -1.0
        self.saved = self.validated = None  # the iteration after which it last was
        self.last_loss, self.said = None, set()

    def start(self, checkpoint=None):
        """Go to the checkpoint, one of the folder's, and begin the logs or go on with them.

        Raises UsageError where it was trained on other data, unless `override` says so, and where
        the validation split cannot decide which is the best.
        """
        dataset = self.environment.dataset
        self.environment.worker.check_same_everywhere(
            f"{self.config.save_every} {self.config.on_nan} {self.config.output is None}"
        )
        require(
            self.config.best_by == "accuracy"
            or not self.validates
            or len(set(dataset.validation_labels)) == len(dataset.class_names),
            f"the validation split of {dataset.title} lacks a class, so there is no auc: set "
            "more images aside, or choose by accuracy",
        )
        if checkpoint is not None:
            environment = self.environment
            require(
                checkpoint.config.get(DATA) == environment.fingerprint
                or DATA in self.config.override,
                f"{environment.dataset.origin} holds other "
                f"data than the run in {self.folder.path} was trained on: put those back, or "
                f"add --override {' '.join([*self.config.override, DATA])}",
            )
            environment.restore(checkpoint, self.config.seed)
            self.saved = checkpoint.iteration
        if self.environment.worker.all_max(checkpoint is not None):
            self.environment.adopt_state_of_first()
        self._start_folder()

    def __iter__(self):
        while True:
            try:
                self.check_stop()
                self._validate()  # what was trained last; after a resumption, too
                if self.environment.iteration >= self.total:
                    self._show_the_end()
                    return
                result = self._train_one()
            except DivergedError as error:
                self._go_back(error)
                continue
            yield result

    def check_stop(self):
        """Raise Stopped where that was asked for, with everything saved that has been trained."""
        number = self.environment.worker.all_max(self.stop.number or 0)
        if not number:
            return
        if self.keeps and self.saved != self.environment.iteration:
            self._save(must=True)
        self._show_the_end()
        said = (
            f"stopped by {NAMES[number]} after iteration {self.environment.iteration} "
            f"of {self.total}"
        )
        if self.folder:
            said += f": saved in {self.folder.path}, to go on add --resume"
        raise Stopped(number, said)

    def until_stopped(self, batches):
        """Iterate over `batches`; raises Stopped in between."""
        for number, batch in enumerate(batches):
            if number % self.environment.worker.count == 0:  # the others' are computed meanwhile
                self.check_stop()
            yield batch

    def _train_one(self):
        result = self.environment.step()
        if not math.isfinite(result.loss):
            raise self._diverged(f"the loss is {result.loss}")
        self.last_loss = result.loss
        if self.folder:
            last = result.iteration == self.total
            self._try(
                "log.csv lacks what is",
                lambda: self.folder.add(result, *self.environment.epoch),
                must=last,
            )
            self.watch.add(
                result.iteration,
                learning_rate=result.learning_rate,
                loss=result.loss,
                accuracy=result.accuracy,
            )
        if self.keeps and self._due():
            self._save(must=result.iteration == self.total)
            if self.folder:
                self.watch.renew()
        return result

    def _due(self):
        iteration = self.environment.iteration
        return iteration == self.total or is_regular(iteration, self.config.save_every)

    def _state(self):
        """A Checkpoint that also has those settings of which the environment knows nothing."""
        state = self.environment.snapshot()
        return replace(
            state,
            config={
                name: value
                for name, value in (state.config | vars(self.config)).items()
                if name in (*self.config.result_fields, *DESCRIPTION)
            },
        )

    def _save(self, must):
        state = self._state()
        if not all(np.isfinite(array).all() for array in state.weights.values()):
            raise self._diverged("weights are no longer finite")
        if not self.folder:  # as the first of several workers has
            return
        if self._try("checkpoints are missing", lambda: self.folder.save(state), must):
            self.saved = state.iteration

    def _validate(self):
        """Measure what was saved last, where that is to be done and has not been."""
        environment = self.environment
        iteration = environment.iteration
        if not (self.validates and self._due()) or self.validated == iteration:
            return
        result = environment.evaluate("validation", self.until_stopped)
        score = getattr(result, self.config.best_by)
        if better := score > self.best_score:
            self.best_score = score
        if self.folder:
            best = self._state() if better else None
            self._try(
                "validation.csv and the best checkpoint lack what is",
                lambda: self.folder.add_validation(iteration, result, best),
                must=iteration == self.total,
            )
            self.watch.add(
                iteration,
                **{f"validation {name}": number for name, number in result._asdict().items()},
            )
            self.watch.renew()
        self.validated = iteration
        count = len(environment.dataset.validation_labels)
        self.report(
            f"validation {iteration}/{self.total}  loss {result.loss:.6f}  "
            f"{scores(result, self.config, environment.dataset)}  ({count:,} images"
            f"{', the best so far' if better else ''})"
        )

    def _start_folder(self):
        self.validated = None
        if self.folder:
            iteration = self.environment.iteration
            self.folder.start(iteration, self.validates)
            self.best_score = self.folder.best(self.config.best_by)[1]
            done = iteration in self.folder.validations.column("accuracy")
            self.validated = iteration if done else None
            self.watch.start(iteration)
        self.validated = self.environment.worker.all_max(self.validated or 0) or None

    def _show_the_end(self):
        if self.folder:
            self.watch.renew(must=True)

    def _diverged(self, what):
        last = (
            "no loss was finite"
            if self.last_loss is None
            else f"the last finite loss was {self.last_loss:g}"
        )
        return DivergedError(f"{what} at iteration {self.environment.iteration}, {last}")

    def _go_back(self, error):
        """To the last regular checkpoint, or to the start: an irregular one would make the result
        depend on where a run was stopped."""
        environment = self.environment
        scale = environment.learning_rate_scale / 2
        if self.config.on_nan == "stop" or scale < SMALLEST_SCALE:
            self._show_the_end()
            kept = self.folder.newest()[0] if self.folder else None
            raise DivergedError(
                f"{error}: try a learning rate below "
                f"{environment.learning_rate:g}"
                + (
                    f" ({self.folder.checkpoint_path(kept.iteration)} is from before)"
                    if kept
                    else ""
                )
            ) from error
        checkpoint, skipped = self.folder.newest(regular=True) if self.folder else (None, [])
        reached = environment.iteration
        if checkpoint is None:
            environment.reset()
        else:
            environment.restore(checkpoint, self.config.seed)
        environment.learning_rate_scale = scale
        environment.adopt_state_of_first()
        self.saved = checkpoint and checkpoint.iteration
        if self.folder:
            self.folder.discard_checkpoints(environment.iteration, reached)
        self._start_folder()
        for line in skipped:
            self.report(line)
        self.report(
            f"restored  iteration {environment.iteration}, with the learning rate times "
            f"{scale:g}: {error}"
        )

    def _try(self, what, write, must=False):
        """Whether it could be written. What cannot is said once; the run goes on, unless it `must`
        be, as at its end, and tries again."""
        try:
            write()
        except (DataError, MissingDataError) as error:
            if must:
                raise
            if what not in self.said:
                warnings.warn(
                    f"{what} from iteration {self.environment.iteration} on, the run "
                    f"goes on: {error}",
                    stacklevel=2,
                )
            self.said.add(what)
            return False
        return True
