"""What of a run is remembered and put back: weights, momentum, average, position."""

from abc import ABC, abstractmethod
from dataclasses import asdict, replace

import numpy as np

from wrn3d.network.variables import (
    assign,
    check_same,
    named_slots,
    named_variables,
    set_dropout,
    values,
)
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, quoted
from wrn3d.training.checkpoint import COUNTERS, NUMBERS, Checkpoint
from wrn3d.training.config import CLASSES, DATA


class RunState(ABC):
    """The state of a training environment, which has `model`, `optimizer`, `spec`, `config`,
    `dataset` and `worker`."""

    average = None  # a WeightAverage, where the settings ask for one

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The data's, by which a checkpoint knows them again."""

    def get_weights(self) -> dict[str, np.ndarray]:
        """{canonical name: float32 array}, the running averages included."""
        return values(named_variables(self.model))

    def set_weights(self, weights):
        """Assign what `get_weights` returned, of which the average, if there is one, starts anew;
        raises DataError (a ValueError) if names or shapes are not this network's, before anything
        is changed."""
        assign(named_variables(self.model), weights, f"weights for {self.spec.name}")
        if self.average:
            assign(self.average.average, weights, f"weights for {self.spec.name}")

    def snapshot(self) -> Checkpoint:
        """The run's whole state, in memory; `restore` goes back to it, any number of times."""
        others = {kind: values(variables) for kind, variables in self._others().items()}
        last = self.average.last if self.average else None  # in an evaluation
        return Checkpoint(
            last or self.get_weights(),
            iteration=self.iteration,
            epochs_completed=self.epochs_completed,
            index_in_epoch=self.index_in_epoch,
            learning_rate_scale=self.learning_rate_scale,
            config={
                **asdict(self.config),
                DATA: self.fingerprint,
                CLASSES: list(self.dataset.class_names),
            },
            normalisation={"mean": self.mean, "std": self.std.reshape(1)},
            **others,
        )

    def restore(self, checkpoint: Checkpoint, seed=None):
        """Continue where `checkpoint` was taken, by either front end, with its seed or `seed`;
        raises DataError (a ValueError) if it is of another network or optimizer, before anything
        is changed.

        Without momentum in it (weights alone, a run without momentum) it starts at zero, without
        an average at the weights.
        """
        require(
            isinstance(checkpoint, Checkpoint),
            "restore takes what snapshot returned; set_weights takes what get_weights returned",
        )
        optimizer = checkpoint.config.get("optimizer", self.config.optimizer)
        if optimizer != self.config.optimizer:
            raise DataError(
                f"the checkpoint is of a run with {quoted(optimizer)} and this one has "
                f"{self.config.optimizer}, whose momentum is another: take its weights "
                "alone, by set_weights(checkpoint.weights)"
            )
        others = self._others()
        arrays = {
            kind: getattr(checkpoint, kind) or _fresh(kind, variables, checkpoint.weights)
            for kind, variables in others.items()
        }
        for kind, variables in others.items():
            check_same(variables, arrays[kind], f"{kind} for {self.spec.name}")
        assign(named_variables(self.model), checkpoint.weights, f"weights for {self.spec.name}")
        for kind, variables in others.items():
            assign(variables, arrays[kind], f"{kind} for {self.spec.name}")
        own = checkpoint.config.get("seed", self.config.seed)
        self.config = replace(self.config, seed=own if seed is None else seed)
        self._go_to(checkpoint)

    def adopt_state_of_first(self):
        """Go where the first of several workers is, which alone reads checkpoints."""
        if self.worker.count == 1:
            return
        found = {"weights": named_variables(self.model)} | self._others()
        places = [(kind, name) for kind, variables in found.items() for name in variables]
        numbers = {name: getattr(self, name) for name in NUMBERS} | {"seed": self.config.seed}
        *arrays, sent = self.worker.broadcast(
            [*(found[kind][name].numpy() for kind, name in places), np.array([*numbers.values()])]
        )
        for kind, variables in found.items():
            assign(
                variables,
                {
                    name: array
                    for (of, name), array in zip(places, arrays, strict=True)
                    if of == kind
                },
                f"{kind} for {self.spec.name}",
            )
        *counters, scale, seed = sent.tolist()
        self.config = replace(self.config, seed=int(seed))
        self._go_to(
            Checkpoint(
                {},
                **dict(zip(COUNTERS, map(int, counters), strict=True)),
                learning_rate_scale=scale,
            )
        )

    def save(self, path):
        """Write the run's state as one safetensors file, which either front end loads."""
        self.snapshot().save(path)

    def load(self, path):
        """Continue from a file that `save` wrote, with the settings of this run, its seed, too;
        raises MissingDataError or DataError."""
        self.restore(Checkpoint.load(path), self.config.seed)

    def _others(self):
        """{kind: {canonical name: variable}} of a checkpoint's arrays beside the weights."""
        found = named_slots(self.model, self.optimizer)
        return found | ({"average": self.average.average} if self.average else {})

    def _go_to(self, position):
        self.iteration = position.iteration
        self.epochs_completed = position.epochs_completed
        self.index_in_epoch = position.index_in_epoch
        self.learning_rate_scale = position.learning_rate_scale
        self.optimizer.forget()  # the gradients of another time
        self.optimizer.iterations.assign(np.asarray(self.iteration, np.int64))  # Adam counts them
        set_dropout(self.model, self.spec.dropout, self.config.seed, self.iteration)


def _fresh(kind, variables, weights):
    """What a checkpoint without arrays of a kind means."""
    if kind == "average":
        return weights
    return {name: np.zeros(variable.shape, np.float32) for name, variable in variables.items()}
