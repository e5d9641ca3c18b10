"""A trained network that classifies pictures and volumes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn3d.data.arrays import own_images
from wrn3d.data.normalisation import normalise
from wrn3d.data.voxels import Voxels
from wrn3d.network.models import keras_model
from wrn3d.network.spec import LAST_GROUP
from wrn3d.system.memory import enough_for
from wrn3d.system.tensorflow_setup import check_process, import_tensorflow
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.evaluation import batches, heatmaps, log_probabilities
from wrn3d.training.inputs import read_input
from wrn3d.training.trained import TrainedNetwork, assign_weights


class Classifier:
    """A trained network that classifies pictures and volumes.

        classifier = Classifier("cifar10")  # or "runs/first/best.safetensors"
        probabilities = classifier(np.stack([classifier.read("cat.png")]))

    `spec` is its WideResNetSpec, `class_names` has the names of the classes, `settings` are the
    run's, `network` says how its data were prepared, `model` is the keras.Model. A call normalises
    its input, volumes as in the data set, for `logits`: the same network with constant weights
    (`network.folded`), normalised volumes -> logits, the model's within rounding.

    Raises MissingDataError if there is no such network or file, and DataError if the file is not a
    checkpoint or lacks what classifying needs.
    """

    def __init__(self, path: str | Path) -> None:
        checkpoint = Checkpoint.load(path)
        self.settings = checkpoint.config
        self.network = TrainedNetwork.of(checkpoint, path)
        self.spec, self.class_names, precision, *_ = self.network
        import_tensorflow()
        from wrn3d.network.folded import folded

        self.model = keras_model(self.spec, precision=precision)
        self._arrays = assign_weights(self.model, checkpoint, path)
        self._logits = folded(self.spec, self._arrays, precision)

    def __call__(self, volumes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the probabilities (N, num_classes) of volumes (N, D, H, W, C).

        Raises UsageError for what `Dataset.normalise` refuses.
        """
        shape, probabilities = self.spec.input_shape, []
        volumes = own_images("volumes", volumes, shape, self.network.kind)
        for rows in batches(volumes):
            logits = self.logits(self.normalise(volumes[rows]))
            probabilities.append(np.exp(log_probabilities(logits)))
        return np.concatenate(probabilities)

    def normalise(self, volumes: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Normalise volumes (N, D, H, W, C) for `logits` and `model`, as in the training.

        Raises UsageError for what `Dataset.normalise` refuses.
        """
        return normalise(volumes, self.network.mean, self.network.std, self.network.kind)

    def logits(self, volumes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the logits (N, num_classes) of normalised volumes (N, D, H, W, C).

        Raises UsageError in a fork of a process that runs TensorFlow, and NotEnoughMemoryError if
        the volumes do not fit into memory.
        """
        import tensorflow as tf

        check_process()
        with enough_for(len(volumes), "evaluation"):
            logits: npt.NDArray[np.float32] = self._logits(tf.constant(volumes)).numpy()
        return logits

    def read(self, path: str | Path) -> Voxels:
        """Read a picture, an array or a scan as a volume (D, H, W, C) of the training data's kind.

        Warns and raises as `read_input` does.
        """
        return read_input(self.network, path).volume

    def explain(
        self, volumes: npt.ArrayLike, label: npt.ArrayLike | None = None, group: int = LAST_GROUP
    ) -> npt.NDArray[np.float32]:
        """Return heatmaps (N, D, H, W) of volumes (N, D, H, W, C): the evidence for a class.

        The volumes are as `read` returns them, the maps `grad_cam`'s. Raises UsageError for what
        does not fit the network.
        """
        check_process()
        return heatmaps(self.spec, self._arrays, self.normalise(volumes), label, group)
