"""Classify pictures and volumes with a trained network.

    python -m wrn3d.predict runs/first/best.safetensors cat.png dog.jpg
    python -m wrn3d.predict runs/adrenal/best.safetensors volume.npy --json

The network is read from a checkpoint.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import tyro

from wrn3d.data.arrays import own_images
from wrn3d.data.dataset import normalise
from wrn3d.data.npy import read_volume
from wrn3d.data.pictures import ENDINGS, MODES, read_picture
from wrn3d.network.models import keras_model
from wrn3d.network.parameters import network_parameters
from wrn3d.network.spec import WideResNetSpec
from wrn3d.network.variables import assign, check_names_and_shapes, named_variables
from wrn3d.network.wide_resnet import check_precision
from wrn3d.system.checks import check_count, require
from wrn3d.system.errors import DataError, UsageError, reason, visible
from wrn3d.system.exit_status import exit_status
from wrn3d.system.files import require_file
from wrn3d.system.memory import enough_for
from wrn3d.system.reporting import markdown_table
from wrn3d.system.tensorflow_setup import import_tensorflow
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.config import CLASSES, NETWORK_FIELDS
from wrn3d.training.evaluation import batches, log_probabilities


@dataclass(frozen=True)
class PredictConfig:
    """The files to classify, and the network to use."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """A .safetensors file of a run. If it has an EMA of the weights, that is used."""
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE...")]
    """Pictures (.png, .jpg), cropped to the network's size, or volumes (.npy, uint8, (D, H, W) or
    (D, H, W, C))."""
    top: int = 3
    """Number of classes to show for each file, the most probable ones."""
    json: bool = False
    """Print JSON, with the probabilities of all classes."""


class Classifier:
    """A trained network that classifies pictures and volumes.

        classifier = Classifier("runs/first/best.safetensors")
        probabilities = classifier(np.stack([classifier.read("cat.png")]))

    `spec` is its WideResNetSpec, `class_names` has the names of the classes, `model` is the
    keras.Model. It normalises its input, the uint8 volumes of the data set.

    Raises MissingDataError if the checkpoint's file does not exist, and DataError if it is not a
    checkpoint or lacks what classifying needs.
    """

    def __init__(self, path: str | Path) -> None:
        checkpoint = Checkpoint.load(path)
        try:
            self.spec, self.class_names, precision = read_network(checkpoint)
        except KeyError as error:
            raise DataError(
                f"{path} does not record its {error.args[0]}, as converted weights and files of "
                "earlier versions do not: env.load it on its data set, then env.save it"
            ) from error
        except (UsageError, DataError, TypeError) as error:
            raise DataError(f"{path} cannot be used to classify ({reason(error)})") from error
        self.mean, self.std = (checkpoint.normalisation[name] for name in ("mean", "std"))
        import_tensorflow()
        self.model = keras_model(self.spec, precision=precision)
        assign(named_variables(self.model), checkpoint.evaluated, f"weights for {self.spec.name}")

    def __call__(self, volumes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the probabilities (N, num_classes) of volumes (N, D, H, W, C) uint8.

        Raises UsageError for what `Dataset.normalise` refuses.
        """
        volumes, probabilities = own_images("volumes", volumes, self.spec.input_shape), []
        for rows in batches(volumes):
            with enough_for(len(volumes[rows]), "evaluation"):
                logits = self.model.predict_on_batch(normalise(volumes[rows], self.mean, self.std))
            probabilities.append(np.exp(log_probabilities(logits)))
        return np.concatenate(probabilities)

    def read(self, path: str | Path) -> npt.NDArray[np.uint8]:
        """Read a picture or a volume and return it in the network's size, (D, H, W, C) uint8.

        Raises MissingDataError if there is no file, and DataError if the file does not fit.
        """
        path = Path(path)
        require_file(path, f"name a picture ({', '.join(ENDINGS)}) or a volume (.npy)")
        depth, height, width, channels = self.spec.input_shape
        ending = path.suffix.lower()
        if ending == ".npy":
            return read_volume(path, self.spec.input_shape)
        if ending not in ENDINGS:
            raise DataError(
                f"{path} is neither a picture ({', '.join(ENDINGS)}) nor a volume (.npy)"
            )
        if depth > 1:
            raise DataError(
                f"{path} is a picture, but the network takes volumes of "
                f"{'x'.join(map(str, self.spec.input_shape))}: name a .npy file"
            )
        return read_picture(path, (height, width), channels)[None]


def read_network(checkpoint: Checkpoint) -> tuple[WideResNetSpec, list[str], str]:
    """Return (spec, names of the classes, precision) of a checkpoint's network.

    Raises KeyError for what the checkpoint does not record, and UsageError, DataError or TypeError
    for invalid contents. Nothing is built before this check: a damaged file could ask for a network
    of any size.
    """
    mean, std = (checkpoint.normalisation[name] for name in ("mean", "std"))
    settings = {name: checkpoint.config[name] for name in (*NETWORK_FIELDS, "precision")}
    precision = settings.pop("precision")
    check_precision(precision)
    names, weights = list(checkpoint.config[CLASSES]), checkpoint.evaluated
    require(
        len(set(names)) == len(names) and all(isinstance(name, str) for name in names),
        "its class names are invalid",
    )
    require(
        mean.ndim == 5 and len(mean) == 1 and mean.shape[-1] in MODES, "its mean image is invalid"
    )
    require(std.shape == (1,) and std > 0, "its standard deviation is invalid")
    require(
        all(np.isfinite(array).all() for array in (mean, std, *weights.values())),
        "it has NaN or infinite numbers",
    )
    spec = WideResNetSpec(**settings, num_classes=len(names), input_shape=mean.shape[1:])
    check_names_and_shapes(
        {parameter.name: parameter for parameter in network_parameters(spec)},
        weights,
        f"weights for {spec.name}",
    )
    return spec, names, precision


def main() -> int:
    """Classify as the command line asks; return what `exit_status` returns."""
    return exit_status(
        predict, tyro.cli(PredictConfig, prog="python -m wrn3d.predict", description=__doc__)
    )


def predict(config: PredictConfig) -> None:
    """Classify the files and print the classes; raises UserError."""
    top = check_count("top", config.top)
    require(config.files, "no files are named: name pictures or volumes after the checkpoint")
    for path in (config.checkpoint, *config.files):
        require(not path.is_dir(), f"{path} is a folder: name files in it")
    classifier = Classifier(config.checkpoint)
    volumes = np.stack([classifier.read(path) for path in config.files])
    rows = []  # (file, {class: probability}, most probable first)
    for path, probabilities in zip(config.files, classifier(volumes).tolist(), strict=True):
        pairs = zip(classifier.class_names, probabilities, strict=True)
        rows.append((str(path), dict(sorted(pairs, key=lambda pair: -pair[1]))))
    if config.json:
        content = [
            {"file": path, "class": next(iter(row)), "probabilities": row} for path, row in rows
        ]
        print(json.dumps(content, indent=2))
        return
    top = min(top, len(classifier.class_names))
    cells = [
        [visible(path), *[f"{visible(name)} {share:.2%}" for name, share in row.items()][:top]]
        for path, row in rows
    ]
    print(markdown_table(["file", "most probable", *["then"] * (top - 1)], cells))


if __name__ == "__main__":
    sys.exit(main())
