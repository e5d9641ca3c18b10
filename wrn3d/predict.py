"""Classify pictures and volumes with a trained network.

    python -m wrn3d.predict runs/first/best.safetensors cat.png dog.jpg
    python -m wrn3d.predict runs/adrenal/best.safetensors volume.npy --json

The network is read from a checkpoint.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import tyro

from wrn3d.data.arrays import own_images
from wrn3d.data.dataset import normalise
from wrn3d.data.fitting import Resizing, check_steps, fit
from wrn3d.data.npy import read_volume
from wrn3d.data.pictures import DARK, ENDINGS, MODES, read_picture, warn_if_dark
from wrn3d.network.models import keras_model
from wrn3d.network.parameters import network_parameters
from wrn3d.network.spec import WideResNetSpec
from wrn3d.network.variables import assign, check_names_and_shapes, fitting_arrays, named_variables
from wrn3d.network.wide_resnet import check_precision
from wrn3d.system.checks import check_count, check_path, require
from wrn3d.system.errors import DataError, MissingDataError, UsageError, reason, visible
from wrn3d.system.files import require_file
from wrn3d.system.flags import run_command
from wrn3d.system.memory import enough_for
from wrn3d.system.reporting import markdown_table
from wrn3d.system.tensorflow_setup import check_process, import_tensorflow
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.config import CLASSES, NETWORK_FIELDS, RESIZING
from wrn3d.training.evaluation import batches, log_probabilities


@dataclass(frozen=True)
class PredictConfig:
    """The files to classify, and the network to use."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """A .safetensors file of a run. If it has an EMA of the weights, that is used."""
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE...")]
    """Pictures (.png, .jpg, ...), cropped to the network's proportions, or volumes (.npy, uint8,
    (D, H, W) or (D, H, W, C)). They are resized as the training data were."""
    top: int = 3
    """Number of classes to show for each file, the most probable ones."""
    json: bool = False
    """Print JSON, with the probabilities of all classes."""


class Classifier:
    """A trained network that classifies pictures and volumes.

        classifier = Classifier("runs/first/best.safetensors")
        probabilities = classifier(np.stack([classifier.read("cat.png")]))

    `spec` is its WideResNetSpec, `class_names` has the names of the classes, `resizing` says how
    the training data were resized, `model` is the keras.Model. A call normalises its input, the
    uint8 volumes of the data set, for `logits`: the same network with constant weights
    (`network.folded`), normalised volumes -> logits, the model's within rounding.

    Raises MissingDataError if the checkpoint's file does not exist, and DataError if it is not a
    checkpoint or lacks what classifying needs.
    """

    def __init__(self, path: str | Path) -> None:
        checkpoint = Checkpoint.load(path)
        try:
            self.spec, self.class_names, precision, self.resizing = read_network(checkpoint)
        except KeyError as error:
            raise DataError(
                f"{path} does not record its {error.args[0]}, as converted weights and files of "
                "earlier versions do not: env.load it on its data set, then env.save it"
            ) from error
        except (UsageError, DataError, TypeError) as error:
            raise DataError(f"{path} cannot be used to classify ({reason(error)})") from error
        self.mean, self.std = (checkpoint.normalisation[name] for name in ("mean", "std"))
        import_tensorflow()
        from wrn3d.network.folded import folded

        self.model = keras_model(self.spec, precision=precision)
        variables, what = named_variables(self.model), f"weights for {self.spec.name}"
        arrays = fitting_arrays(variables, checkpoint.evaluated, what)
        assign(variables, arrays)
        self._logits = folded(self.spec, arrays, precision)

    def __call__(self, volumes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the probabilities (N, num_classes) of volumes (N, D, H, W, C) uint8.

        Raises UsageError for what `Dataset.normalise` refuses.
        """
        volumes, probabilities = own_images("volumes", volumes, self.spec.input_shape), []
        for rows in batches(volumes):
            with enough_for(len(volumes[rows]), "evaluation"):
                logits = self.logits(normalise(volumes[rows], self.mean, self.std))
            probabilities.append(np.exp(log_probabilities(logits)))
        return np.concatenate(probabilities)

    def logits(self, volumes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the logits (N, num_classes) of normalised volumes (N, D, H, W, C).

        Raises UsageError in a fork of a process that runs TensorFlow.
        """
        check_process()
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


def read_network(
    checkpoint: Checkpoint,
) -> tuple[WideResNetSpec, list[str], str, tuple[Resizing, ...]]:
    """Return (spec, names of the classes, precision, resizing of the data) of a checkpoint.

    Raises KeyError for what the checkpoint does not record, except for the resizing, and
    UsageError, DataError or TypeError for invalid contents. Nothing is built before this check: a
    damaged file could ask for a network of any size.
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
    return spec, names, precision, check_steps(checkpoint.config.get(RESIZING, ()), mean.shape[1:4])


def main() -> int:
    """Classify as the command line asks; return what `exit_status` returns."""
    return run_command(predict, PredictConfig, "wrn3d.predict", __doc__)


def predict(config: PredictConfig) -> int:
    """Classify the files, print the classes, and return the exit status.

    It is 1 if a file cannot be read; standard error says which. Raises UserError.
    """
    top = check_count("top", config.top)
    require(config.files, "no files are named: name pictures or volumes after the checkpoint")
    require(not config.checkpoint.is_dir(), f"{config.checkpoint} is a folder: name a file in it")
    classifier = Classifier(config.checkpoint)
    readable, volumes = [], []
    for path in config.files:
        try:
            volumes.append(classifier.read(path))
            readable.append(str(path))
        except (DataError, MissingDataError) as error:
            print(f"error: {visible(str(error))}", file=sys.stderr)
    rows = []  # (file, {class: probability}, most probable first)
    results = classifier(np.stack(volumes)).tolist() if volumes else []
    for file, probabilities in zip(readable, results, strict=True):
        pairs = zip(classifier.class_names, probabilities, strict=True)
        rows.append((file, dict(sorted(pairs, key=lambda pair: -pair[1]))))
    if config.json:
        content = [
            {"file": file, "class": next(iter(row)), "probabilities": row} for file, row in rows
        ]
        print(json.dumps(content, indent=2))
    elif rows:
        print(_table(rows, min(top, len(classifier.class_names))))
    return 1 if len(rows) < len(config.files) else 0


def _table(rows: Sequence[tuple[str, dict[str, float]]], top: int) -> str:
    """Return the `top` most probable classes of each (file, {class: probability}) as a table."""
    cells = [
        [visible(path), *[f"{visible(name)} {share:.2%}" for name, share in row.items()][:top]]
        for path, row in rows
    ]
    return markdown_table(["file", "most probable", *["then"] * (top - 1)], cells)


if __name__ == "__main__":
    sys.exit(main())
