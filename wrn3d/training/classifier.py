"""A trained network that classifies pictures and volumes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn3d.data import scans
from wrn3d.data.arrays import own_images
from wrn3d.data.files import ARRAY
from wrn3d.data.fitting import Resizing, fit
from wrn3d.data.normalisation import normalise
from wrn3d.data.npy import check_fits, read_volume
from wrn3d.data.pictures import DARK, ENDINGS, read_picture, warn_if_dark
from wrn3d.data.voxels import Voxels, rounded
from wrn3d.network.models import keras_model
from wrn3d.system.checks import check_path
from wrn3d.system.errors import DataError, visible
from wrn3d.system.files import require_file
from wrn3d.system.memory import enough_for
from wrn3d.system.tensorflow_setup import check_process, import_tensorflow
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.evaluation import batches, log_probabilities
from wrn3d.training.trained import TrainedNetwork, assign_weights

VOLUMES = ", ".join((ARRAY, *scans.ENDINGS))


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
        arrays = assign_weights(self.model, checkpoint, path)
        self._logits = folded(self.spec, arrays, precision)

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
        check_process()
        with enough_for(len(volumes), "evaluation"):
            logits: npt.NDArray[np.float32] = self._logits(volumes).numpy()
        return logits

    @property
    def grid(self) -> scans.Grid | None:
        """The voxels of the network's scans in mm; None if its training data had no spacing."""
        spacing = self.network.spacing
        return scans.Grid(self.spec.input_shape[:3], spacing) if spacing else None

    def read(self, path: str | Path) -> Voxels:
        """Read a picture, an array or a scan as a volume (D, H, W, C) of the training data's kind.

        Its intensities and its size are mapped as those of the training data were. If these were
        not resized, or if the checkpoint comes from version 0.1, pictures are resized bicubically
        and volumes linearly. Warns of a picture that is nearly black, unless the training data
        were.

        Raises MissingDataError if there is no file, and DataError if the file does not fit.
        """
        path = check_path("path", path)
        if not path.is_dir():  # of a DICOM series
            require_file(path, f"name a picture ({', '.join(ENDINGS)}) or a volume ({VOLUMES})")
        if scans.is_scan(path):
            return self._read_scan(path)
        ending = path.suffix.lower()
        if ending == ARRAY:
            volume = read_volume(path, self.spec.input_shape)
            return self._fit(self._in_unit(volume, path), "linear")
        if ending not in ENDINGS:
            raise DataError(
                f"{path} is neither a picture ({', '.join(ENDINGS)}) nor a volume ({VOLUMES})"
            )
        return self._read_picture(path)

    def _read_picture(self, path: Path) -> Voxels:
        *sides, channels = self.spec.input_shape
        if sides[0] > 1 or self.network.kind != np.uint8 or self.network.window:
            raise DataError(
                f"{path} is a picture of 8 bits, but the network takes volumes of "
                f"{'x'.join(map(str, self.spec.input_shape))}, {self.network.kind}: name an array "
                f"or a scan ({VOLUMES})"
            )
        picture = read_picture(path, channels)[None]
        if self.network.mean.max() > DARK:
            warn_if_dark(visible(str(path)), [picture])
        return self._fit(picture, "bicubic")

    def _read_scan(self, path: Path) -> Voxels:
        scan = scans.read_scan(path)
        scan = scan._replace(voxels=self._in_unit(scan.voxels, path))
        if self.grid:
            return scans.on_grid(scan, self.grid, self.network.kind)
        check_fits(path, scan.voxels.shape, self.spec.input_shape)
        return self._fit(scan.voxels, "linear")

    def _in_unit(self, volume: Voxels, path: Path) -> Voxels:
        """Return a volume's numbers as the training data's; raise DataError for another unit."""
        kind = self.network.kind
        if self.network.window:
            return self.network.window(volume, str(path))
        if (volume.dtype == np.uint8) != (kind == np.uint8):
            raise DataError(
                f"{path} holds {volume.dtype}, but the network was trained on {kind}: save it with "
                "numbers of the same unit"
            )
        return rounded(volume, kind)

    def _fit(self, volume: Voxels, usual: str) -> Voxels:
        """Bring a volume to the network's size as the training data were, or by `usual`."""
        sides = self.spec.input_shape[:3]
        return fit(volume, sides, self.network.resizing or [Resizing(usual, sides)])
