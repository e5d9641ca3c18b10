"""What the network of a run says: logits, probabilities, and how right they are."""

from abc import ABC, abstractmethod
from contextlib import nullcontext

import numpy as np

from wrn3d.data.batches import check_volumes
from wrn3d.network.models import as_keras_model
from wrn3d.network.variables import set_dropout
from wrn3d.system.memory import enough_for
from wrn3d.training.evaluation import EvalResult, Predictions, mean_of, measure, predict_views


class Prediction(ABC):
    """What a training environment is asked about the network as it is now; it has `model`,
    `spec`, `config`, `dataset` and `average`."""

    @abstractmethod
    def logits(self, volumes):
        """Evaluation mode: volumes (N, D, H, W, C) -> array (N, num_classes)."""

    def evaluate(self, split="test", track=iter, mirror=False) -> EvalResult:
        """Loss and accuracy on a split, as `predict_split` has it."""
        return measure(self.predict_split(split, track, mirror))

    def predict_split(self, split="test", track=iter, mirror=False) -> Predictions:
        """Probabilities and labels of a split, "test", "validation" or "train"; `track` may wrap
        the list of batches, as a progress bar does. With `mirror` the probabilities are the means
        of each volume's and its mirror images', along the setting `flip_axes`. Raises UsageError
        for a split that is not there."""
        return mean_of(self.predict_views(split, track, mirror))

    def predict_views(self, split="test", track=iter, mirror=False) -> list[Predictions]:
        """The same of the volumes as they are and, with `mirror`, of each of their mirror images,
        apart."""
        with self.averaged():
            return predict_views(
                self._logits,
                self.dataset,
                split,
                track,
                self.config.flip_axes if mirror else (),
                self.worker,
            )

    def predict(self, volumes) -> np.ndarray:
        """Logits (N, num_classes) in evaluation mode for normalised volumes (N, D, H, W, C).

        Raises UsageError for volumes of another shape.
        """
        volumes = np.asarray(volumes, np.float32)
        check_volumes("volumes", volumes, [self.spec.input_shape])
        with self.averaged():
            return self._logits(volumes)

    def averaged(self):
        """A context in which the model has the average of its weights, by which `evaluate` and
        `predict` go, where the setting `averaging` asks for one."""
        return self.average.in_use() if self.average else nullcontext()

    @property
    def keras_model(self):
        """The network as it is now as a keras.Model, to save, export or go on with in Keras: the
        Keras script's own, from another a copy. It has the last weights, and their average in a
        `with env.averaged():`."""
        model = as_keras_model(self.model, self.spec, self.config.seed, self.config.precision)
        set_dropout(model, self.spec.dropout, self.config.seed, self.iteration)
        return model

    def _logits(self, volumes):
        with enough_for(len(volumes), "evaluation"):
            return self.logits(volumes)
