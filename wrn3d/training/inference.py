"""What an environment's network says: scores, predictions, and where it looks."""

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn3d.data.batches import own_volumes
from wrn3d.data.dataset import Dataset
from wrn3d.distributed.workers import Worker
from wrn3d.network.spec import LAST_GROUP, WideResNetSpec
from wrn3d.network.variables import named_variables, values
from wrn3d.system.checks import check_flag
from wrn3d.system.memory import enough_for
from wrn3d.system.tensorflow_setup import check_no_strategy
from wrn3d.training import evaluation
from wrn3d.training.averaging import WeightAverage
from wrn3d.training.evaluation import EvalResult, Predictions, Track
from wrn3d.training.front_ends import FrontEnd
from wrn3d.training.own_functions import OwnFunctions


class Inference(FrontEnd):
    """The calls of an environment that do not change its state.

    They use the EMA of the weights, if there is one.
    """

    spec: WideResNetSpec
    average: WeightAverage | None
    worker: Worker
    functions: OwnFunctions

    @property
    @abstractmethod
    def dataset(self) -> Dataset:
        """The data that the run trains and measures on."""

    def evaluate(
        self, split: str = "test", track: Track = iter, mirror: bool = False
    ) -> EvalResult:
        """Return the scores on a split, also the own metrics; takes what `predict_split` takes."""
        predictions = self.predict_split(split, track, mirror)
        return evaluation.measure(predictions, metrics=self.functions.metrics)

    def predict_split(
        self, split: str = "test", track: Track = iter, mirror: bool = False
    ) -> Predictions:
        """Return probabilities and labels of the split "test", "validation" or "train".

        `track` may wrap the list of batches, as a progress bar does. With `mirror` the
        probabilities are means over each volume and its mirror images along `flip_axes` (flip
        test-time augmentation). Raises UsageError for a split that does not exist.
        """
        return evaluation.mean_of(self.predict_views(split, track, mirror))

    def predict_views(
        self, split: str = "test", track: Track = iter, mirror: bool = False
    ) -> list[Predictions]:
        """Return separate predictions for the volumes and for each of their mirror images."""
        axes = self.config.flip_axes if check_flag("mirror", mirror) else ()
        with self.averaged():
            return evaluation.predict_views(
                self._logits, self.dataset, split, track, axes, self.worker
            )

    def predict(self, volumes: Any) -> np.ndarray:
        """Return evaluation mode's logits (N, num_classes) of normalised volumes (N, D, H, W, C).

        Raises UsageError for another shape, or for anything but floating point.
        """
        volumes = own_volumes("volumes", volumes, [self.spec.input_shape])
        with self.averaged():
            return self._logits(volumes)

    def explain(
        self, volumes: Any, label: Any = None, group: int = LAST_GROUP
    ) -> npt.NDArray[np.float32]:
        """Return heatmaps (N, D, H, W) of normalised volumes: the evidence for a class, from 0 up.

        They are `grad_cam`'s, for a `label` or (N,) labels, by default the predicted classes.
        Raises UsageError for volumes as in `predict`, and for another label or group.
        """
        volumes = own_volumes("volumes", volumes, [self.spec.input_shape])
        with self.averaged():
            arrays = values(named_variables(self.model))
        return evaluation.heatmaps(self.spec, arrays, volumes, label, group)

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context in which the model holds the EMA of its weights, if there is one.

        Contexts can be nested. Inside, calls that change the weights raise UsageError.
        """
        check_no_strategy()
        return self.average.in_use() if self.average else nullcontext()

    def _logits(self, volumes: np.ndarray) -> np.ndarray:
        with enough_for(len(volumes), "evaluation"):
            return self.logits(volumes)
