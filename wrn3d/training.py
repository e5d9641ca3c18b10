"""A run from its first iteration, or from where it stopped, to its last: log, checkpoints, ends."""
import math
import warnings

import numpy as np

from wrn3d.checks import require
from wrn3d.config import RESULT_FIELDS
from wrn3d.errors import DataError, DivergedError, Stopped


class Training:
    """The iterations that are left of a run; going over it trains them, one StepResult each.

    `folder` is the run's RunFolder, or None where nothing is kept: there a checkpoint is written
    after every `save_every` iterations, after the last, and when `stop`, a StopRequest, was asked
    for. Raises Stopped then, and DivergedError where the loss is no finite number.
    """

    def __init__(self, environment, total, stop, folder=None, save_every=100):
        self.environment, self.total, self.stop = environment, total, stop
        self.folder, self.save_every = folder, save_every
        self.last_loss, self.said = None, set()

    def start(self, override=()) -> list[str]:
        """Begin the folder's log, where it is resumed after going to its newest whole checkpoint;
        returns what is to be said about that.

        Raises UsageError where the settings differ from the checkpoint's in what decides the
        result, but for the fields in `override`.
        """
        said = []
        if self.folder.resume:
            checkpoint, said = self.folder.newest()
            if checkpoint is not None:
                self._check_settings(checkpoint, override)
                self.environment.restore(checkpoint)
                said.append(f"resumed   {self.folder.path} after iteration "
                            f"{checkpoint.iteration}")
            else:
                said.append(f"started   {self.folder.path}, where no checkpoint was to go on from")
        self.folder.start_log(self.environment.iteration)
        return said

    def __iter__(self):
        while self.environment.iteration < self.total:
            result = self.environment.step()
            self._check_loss(result)
            stop = self.stop.number is not None  # asked once: what comes later is the next one's
            self._keep(result, stop)
            yield result
            if stop:
                self.check_stop()

    def check_stop(self):
        """Raise Stopped where that was asked for; what has been trained is saved."""
        if self.stop.number is None:
            return
        said = (f"stopped by {self.stop.name} after iteration {self.environment.iteration} "
                f"of {self.total}")
        if self.folder:
            said += f": saved in {self.folder.path}, to go on add --resume"
        raise Stopped(self.stop.number, said)

    def _check_settings(self, checkpoint, override):
        override = [name.replace("-", "_") for name in override]
        for name in override:
            require(name in RESULT_FIELDS,
                    f"override has {name!r}, but can have {', '.join(RESULT_FIELDS)}")
        ours = {name: getattr(self.environment.config, name) for name in RESULT_FIELDS}
        differing = {name: f"{name} was {checkpoint.config.get(name)!r} and is {value!r}"
                     for name, value in ours.items()
                     if checkpoint.config.get(name) != value and name not in override}
        require(not differing, f"the run in {self.folder.path} has other settings: "
                f"{', '.join(differing.values())}; go on with those that it had, or add --override "
                f"{' '.join([*override, *differing])}")

    def _check_loss(self, result):
        if not math.isfinite(result.loss):
            self._diverge(result, f"the loss is {result.loss}")
        self.last_loss = result.loss

    def _diverge(self, result, what):
        last = "no loss was finite" if self.last_loss is None else \
            f"the last finite loss was {self.last_loss:g}"
        kept = self.folder.checkpoints() if self.folder else []
        raise DivergedError(f"{what} at iteration {result.iteration}, {last}: try a learning rate "
                            f"below {result.learning_rate:g}" +
                            (f" ({kept[0]} is from before)" if kept else ""))

    def _keep(self, result, stop):
        if not self.folder:
            return
        last = stop or result.iteration == self.total
        self._try("log.csv misses iterations", lambda: self.folder.log(result), must=False)
        if last or result.iteration % self.save_every == 0:
            state = self.environment.snapshot()
            if not all(np.isfinite(array).all() for array in state.weights.values()):
                self._diverge(result, "weights are no longer finite")
            self._try("a checkpoint is missing", lambda: self.folder.save(state), must=last)

    def _try(self, loss, write, must):
        """What cannot be written is said once; the run goes on, unless it is at its end."""
        try:
            write()
        except DataError as error:
            if must:
                raise
            if loss not in self.said:
                warnings.warn(f"{loss} from iteration {self.environment.iteration} on, the run "
                              f"goes on: {error}", stacklevel=2)
            self.said.add(loss)
