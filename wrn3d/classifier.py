"""A trained network from a checkpoint alone: pictures and volumes to class probabilities."""
from pathlib import Path

import numpy as np

from wrn3d.checkpoint import Checkpoint
from wrn3d.checks import require
from wrn3d.config import CLASSES, NETWORK_FIELDS
from wrn3d.data.dataset import normalise
from wrn3d.data.npy import read_volume
from wrn3d.data.pictures import ENDINGS, MODES, read_picture
from wrn3d.errors import DataError, UsageError, reason
from wrn3d.evaluation import batches, log_probabilities
from wrn3d.files import require_file
from wrn3d.memory import enough_for
from wrn3d.models import assign, check_same, keras_model, named_variables
from wrn3d.network import check_precision
from wrn3d.parameters import network_parameters
from wrn3d.runtime import import_tensorflow
from wrn3d.spec import WideResNetSpec


class Classifier:
    """The network of a checkpoint. Raises MissingDataError or DataError for a file that is none,
    or from which nothing can be classified."""

    def __init__(self, path):
        checkpoint = Checkpoint.load(path)
        try:
            self.spec, self.class_names, precision = described(checkpoint)
        except KeyError as error:
            raise DataError(f"{path} does not say what its {error.args[0]} is (converted weights "
                            "do not, nor an earlier version's files): env.load it on its data, "
                            "and env.save it") from error
        except (UsageError, DataError, TypeError) as error:
            raise DataError(f"{path} is no checkpoint to classify with "
                            f"({reason(error)})") from error
        self.mean, self.std = (checkpoint.normalisation[name] for name in ("mean", "std"))
        import_tensorflow()
        self.model = keras_model(self.spec, precision=precision)
        assign(named_variables(self.model), checkpoint.evaluated, f"weights for {self.spec.name}")

    def __call__(self, volumes) -> np.ndarray:
        """Volumes (N, D, H, W, C) uint8 -> probabilities (N, classes)."""
        found = []
        for rows in batches(volumes):
            with enough_for(len(volumes[rows]), "evaluation"):
                logits = self.model.predict_on_batch(normalise(volumes[rows], self.mean, self.std))
            found.append(np.exp(log_probabilities(logits)))
        return np.concatenate(found)

    def read(self, path) -> np.ndarray:
        """A picture or a volume as the network takes it, (D, H, W, C) uint8.

        Raises MissingDataError or DataError.
        """
        path = Path(path)
        require_file(path, f"name a picture ({', '.join(ENDINGS)}) or a volume (.npy)")
        depth, height, width, channels = self.spec.input_shape
        ending = path.suffix.lower()
        if ending == ".npy":
            return read_volume(path, self.spec.input_shape)
        if ending not in ENDINGS:
            raise DataError(f"{path} is no picture ({', '.join(ENDINGS)}) and no volume (.npy)")
        if depth > 1:
            raise DataError(f"{path} is a picture, but the network takes volumes of "
                            f"{'x'.join(map(str, self.spec.input_shape))}: name a .npy file")
        return read_picture(path, (height, width), channels)[None]


def described(checkpoint):
    """(spec, names of the classes, precision) of the network whose weights a Checkpoint holds.

    Raises KeyError for what it does not tell, and UsageError, DataError or TypeError for what
    cannot be: before a network is built, which a damaged file would make as large as it likes.
    """
    mean, std = (checkpoint.normalisation[name] for name in ("mean", "std"))
    settings = {name: checkpoint.config[name] for name in (*NETWORK_FIELDS, "precision")}
    precision = settings.pop("precision")
    check_precision(precision)
    names, weights = list(checkpoint.config[CLASSES]), checkpoint.evaluated
    require(len(set(names)) == len(names) and all(isinstance(name, str) for name in names),
            "its classes can't be")
    require(mean.ndim == 5 and len(mean) == 1 and mean.shape[-1] in MODES
            and std.shape == (1,) and std > 0, "its data can't be")
    require(all(np.isfinite(array).all() for array in (mean, std, *weights.values())),
            "not all that is in it are finite numbers")
    spec = WideResNetSpec(**settings, num_classes=len(names), input_shape=mean.shape[1:])
    check_same({parameter.name: parameter for parameter in network_parameters(spec)},
               weights, f"weights for {spec.name}")
    return spec, names, precision
