"""A trained network that classifies pictures and volumes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn3d.data.arrays import own_images
from wrn3d.data.dataset import normalise
from wrn3d.data.fitting import Resizing, fit
from wrn3d.data.npy import read_volume
from wrn3d.data.pictures import DARK, ENDINGS, read_picture, warn_if_dark
from wrn3d.network.models import keras_model
from wrn3d.system.checks import check_path
from wrn3d.system.errors import DataError, visible
from wrn3d.system.files import require_file
from wrn3d.system.memory import enough_for
from wrn3d.system.tensorflow_setup import check_process, import_tensorflow
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.evaluation import batches, log_probabilities
from wrn3d.training.trained import TrainedNetwork, assign_weights


class Classifier:
    """A trained network that classifies pictures and volumes.

        classifier = Classifier("cifar10")  # or "runs/first/best.safetensors"
        probabilities = classifier(np.stack([classifier.read("cat.png")]))

    `spec` is its WideResNetSpec, `class_names` has the names of the classes, `resizing` says how
    the training data were resized, `settings` are the run's, `model` is the keras.Model. A call
    normalises its input, the uint8 volumes of the data set, for `logits`: the same network with
    constant weights (`network.folded`), normalised volumes -> logits, the model's within rounding.

    Raises MissingDataError if there is no such network or file, and DataError if the file is not a
    checkpoint or lacks what classifying needs.
    """

    def __init__(self, path: str | Path) -> None:
        checkpoint = Checkpoint.load(path)
        self.settings = checkpoint.config
        network = TrainedNetwork.of(checkpoint, path)
        self.spec, self.class_names, precision, self.resizing, self.mean, self.std = network
        import_tensorflow()
        from wrn3d.network.folded import folded

        self.model = keras_model(self.spec, precision=precision)
        arrays = assign_weights(self.model, checkpoint, path)
        self._logits = folded(self.spec, arrays, precision)

    def __call__(self, volumes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the probabilities (N, num_classes) of volumes (N, D, H, W, C) uint8.

        Raises UsageError for what `Dataset.normalise` refuses.
        """
        volumes, probabilities = own_images("volumes", volumes, self.spec.input_shape), []
        for rows in batches(volumes):
            logits = self.logits(self.normalise(volumes[rows]))
            probabilities.append(np.exp(log_probabilities(logits)))
        return np.concatenate(probabilities)

    def normalise(self, volumes: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Normalise volumes (N, D, H, W, C) uint8 for `logits` and `model`, as in the training.

        Raises UsageError for what `Dataset.normalise` refuses.
        """
        return normalise(volumes, self.mean, self.std)

    def logits(self, volumes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the logits (N, num_classes) of normalised volumes (N, D, H, W, C).

        Raises UsageError in a fork of a process that runs TensorFlow, and NotEnoughMemoryError if
        the volumes do not fit into memory.
        """
        check_process()
        with enough_for(len(volumes), "evaluation"):
            logits: npt.NDArray[np.float32] = self._logits(volumes).numpy()
        return logits

    def read(self, path: str | Path) -> npt.NDArray[np.uint8]:
        """Read a picture or a volume and return it in the network's size, (D, H, W, C) uint8.

        It is resized as the network's training data were; if they were not, or if the checkpoint
        comes from version 0.1, pictures are resized bicubically and volumes linearly. Warns of a
        picture that is nearly black, unless the training data were.

        Raises MissingDataError if there is no file, and DataError if the file does not fit.
        """
        path = check_path("path", path)
        require_file(path, f"name a picture ({', '.join(ENDINGS)}) or a volume (.npy)")
        *sides, channels = self.spec.input_shape
        ending = path.suffix.lower()
        if ending == ".npy":
            return self._fit(read_volume(path, self.spec.input_shape), "linear")
        if ending not in ENDINGS:
            raise DataError(
                f"{path} is neither a picture ({', '.join(ENDINGS)}) nor a volume (.npy)"
            )
        if sides[0] > 1:
            raise DataError(
                f"{path} is a picture, but the network takes volumes of "
                f"{'x'.join(map(str, self.spec.input_shape))}: name a .npy file"
            )
        picture = read_picture(path, channels)[None]
        if self.mean.max() > DARK:
            warn_if_dark(visible(str(path)), [picture])
        return self._fit(picture, "bicubic")

    def _fit(self, volume: npt.NDArray[np.uint8], usual: str) -> npt.NDArray[np.uint8]:
        """Bring a volume to the network's size as the training data were, or by `usual`."""
        sides = self.spec.input_shape[:3]
        return fit(volume, sides, self.resizing or [Resizing(usual, sides)])
