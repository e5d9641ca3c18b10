"""Classify pictures and volumes with a network that was trained here.

python -m wrn3d.predict runs/first/best.safetensors cat.png dog.jpg
python -m wrn3d.predict runs/adrenal/best.safetensors volume.npy --json
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

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
    """What is classified, with what."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """A .safetensors file of a run; where it has averaged weights, those count."""
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE...")]
    """Pictures (.png, .jpg), cut to the network's size, or volumes (.npy, uint8: (D, H, W), with
    channels last if there are several)."""
    top: int = 3
    """Classes to show for each, the most probable ones."""
    json: bool = False
    """Print JSON, with the probabilities of all classes."""


class Classifier:
    """The network of a checkpoint. Raises MissingDataError or DataError for a file that is none,
    or from which nothing can be classified."""

    def __init__(self, path):
        checkpoint = Checkpoint.load(path)
        try:
            self.spec, self.class_names, precision = described(checkpoint)
        except KeyError as error:
            raise DataError(
                f"{path} does not say what its {error.args[0]} is (converted weights "
                "do not, nor an earlier version's files): env.load it on its data, "
                "and env.save it"
            ) from error
        except (UsageError, DataError, TypeError) as error:
            raise DataError(
                f"{path} is no checkpoint to classify with ({reason(error)})"
            ) from error
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
            raise DataError(
                f"{path} is a picture, but the network takes volumes of "
                f"{'x'.join(map(str, self.spec.input_shape))}: name a .npy file"
            )
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
    require(
        len(set(names)) == len(names) and all(isinstance(name, str) for name in names),
        "its classes can't be",
    )
    require(
        mean.ndim == 5
        and len(mean) == 1
        and mean.shape[-1] in MODES
        and std.shape == (1,)
        and std > 0,
        "its data can't be",
    )
    require(
        all(np.isfinite(array).all() for array in (mean, std, *weights.values())),
        "not all that is in it are finite numbers",
    )
    spec = WideResNetSpec(**settings, num_classes=len(names), input_shape=mean.shape[1:])
    check_names_and_shapes(
        {parameter.name: parameter for parameter in network_parameters(spec)},
        weights,
        f"weights for {spec.name}",
    )
    return spec, names, precision


def main() -> int:
    """Classify; returns the exit status, as `exit_status` says."""
    return exit_status(
        predict, tyro.cli(PredictConfig, prog="python -m wrn3d.predict", description=__doc__)
    )


def predict(config):
    """Do what `config` says and print it; raises UserError."""
    top = check_count("top", config.top)
    require(config.files, "no files are named: name pictures or volumes after the checkpoint")
    for path in (config.checkpoint, *config.files):
        require(not path.is_dir(), f"{path} is a folder: name files in it")
    classifier = Classifier(config.checkpoint)
    volumes = np.stack([classifier.read(path) for path in config.files])
    # {class: probability} of each, the most probable first.
    found = [
        dict(
            sorted(
                zip(classifier.class_names, map(float, row), strict=True), key=lambda pair: -pair[1]
            )
        )
        for row in classifier(volumes)
    ]
    named = list(zip(map(str, config.files), found, strict=True))
    if config.json:
        print(
            json.dumps(
                [
                    {"file": path, "class": next(iter(row)), "probabilities": row}
                    for path, row in named
                ],
                indent=2,
            )
        )
        return
    titles = ["file", "most probable", *["then"] * (min(top, len(found[0])) - 1)]
    print(
        markdown_table(
            titles,
            [
                [
                    visible(path),
                    *[f"{visible(name)} {share:.2%}" for name, share in row.items()][:top],
                ]
                for path, row in named
            ],
        )
    )


if __name__ == "__main__":
    sys.exit(main())
