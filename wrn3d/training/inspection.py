"""Looking inside a run: what the next step would do, seen without doing it."""

from abc import ABC, abstractmethod
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import numpy as np

from wrn3d.network.parameters import part_of
from wrn3d.network.variables import assign, named_variables, trained_names, values
from wrn3d.system.memory import enough_for


class Norms(NamedTuple):
    """Euclidean norms by part of the network, {"conv0": number, "group0": number, ...}: of the
    trained weights, and of the gradients that were computed last, before weight decay; nan before
    there were any."""

    weights: dict[str, float]
    gradients: dict[str, float]


class Inspection(ABC):
    """What a training environment shows of itself; it has `model`, `optimizer` and `worker`."""

    @abstractmethod
    def loss_and_gradients(self, volumes, labels):
        """In training mode, of volumes (N, D, H, W, C) and labels (N,): (loss, accuracy, the
        gradients of the model's `trainable_weights`). Of several workers each has a part of the
        loss and of the gradients, and the accuracy of its rows."""

    def gradients(self, images=None, labels=None) -> dict[str, np.ndarray]:
        """{canonical name: float32 array}, the loss's gradients by the trained weights, before
        weight decay: of the batch that `step` with the same arguments would train on, which stays
        the next one. Nothing else moves either. Raises what `step` does."""
        self._prepare()
        _, _, gradients, _ = self._evaluate_without_update(images, labels)
        return dict(zip(trained_names(self.model), map(np.array, gradients), strict=True))

    def norms(self) -> Norms:
        """Of the weights as they are, and of the gradients that were computed last."""
        return Norms(
            self._by_part(self._weight_norms().numpy()),
            self._by_part(self.optimizer.gradient_norms.numpy()),
        )

    def _evaluate_without_update(self, images, labels):
        """(loss, accuracy, gradients, samples) of the batch that comes next, or of the given one,
        without a step."""
        with self._state_unchanged():
            images, labels, count = self._batch(images, labels)
            with enough_for(count), self.worker.step(count):
                loss, accuracy, gradients = self.loss_and_gradients(images, labels)
        loss, accuracy = self._reduce_scores(loss, accuracy, len(labels), count)
        order = self.optimizer.order
        summed = dict(
            zip(order, self.worker.sum([gradients[place] for place in order]), strict=True)
        )
        gradients = [summed[place] for place in range(len(order))]
        self.optimizer.note(gradients)
        return loss, accuracy, gradients, count

    def _reduce_scores(self, loss, accuracy, own, count):
        """(loss, accuracy) of a batch of `count`, of this worker's part of the first and its
        `own` rows' accuracy."""
        if self.worker.count == 1:
            return loss, accuracy
        scores = np.array([loss, float(accuracy) * (own / count)], np.float32)
        return self.worker.sum([scores])[0]

    @contextmanager
    def _state_unchanged(self):
        """A context after which the run is where it was: batch norm's averages, the positions."""
        moving = {
            name: variable
            for name, variable in named_variables(self.model).items()
            if ".running_" in name
        }
        before = values(moving)
        position = self.epochs_completed, self.index_in_epoch
        try:
            yield
        finally:
            self.epochs_completed, self.index_in_epoch = position
            assign(moving, before, "batch norm's averages")
            self._prepare()

    @cached_property
    def _weight_norms(self):
        """Of each trained weight; in one graph, which takes a fifth of the time."""
        import tensorflow as tf

        weights = self.model.trainable_weights
        return tf.function(
            lambda: tf.stack([tf.norm(weight) for weight in weights]), autograph=False
        )

    def _by_part(self, norms):
        squares = {}
        for name, norm in zip(trained_names(self.model), norms, strict=True):
            part = part_of(name)
            squares[part] = squares.get(part, 0.0) + float(norm) ** 2
        return {part: square**0.5 for part, square in squares.items()}
