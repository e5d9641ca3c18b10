"""Classify pictures and volumes with a trained network.

    python -m wrn3d.predict cifar10 cat.png dog.jpg
    python -m wrn3d.predict runs/adrenal/best.safetensors volume.npy --json

The network is a trained one of this package, or a checkpoint of a run.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from wrn3d.system.checks import check_count, require
from wrn3d.system.errors import DataError, MissingDataError, visible
from wrn3d.system.flags import run_command
from wrn3d.system.reporting import markdown_table
from wrn3d.training import shipped
from wrn3d.training.classifier import Classifier as Classifier  # which programs import from here


@dataclass(frozen=True)
class PredictConfig:
    """The files to classify, and the network to use."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """A trained network's name, such as cifar10, or a .safetensors file of a run. If the file has
    an EMA of the weights, that is used."""
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE...")]
    """Pictures (.png, .jpg, ...), cropped to the network's proportions, or volumes (.npy, uint8,
    (D, H, W) or (D, H, W, C)). They are resized as the training data were."""
    top: int = 3
    """Number of classes to show for each file, the most probable ones."""
    json: bool = False
    """Print JSON, with the probabilities of all classes."""


def main() -> int:
    """Classify as the command line asks; return what `exit_status` returns."""
    return run_command(predict, PredictConfig, "wrn3d.predict", __doc__)


def predict(config: PredictConfig) -> int:
    """Classify the files, print the classes, and return the exit status.

    It is 1 if a file cannot be read; standard error says which. Raises UserError.
    """
    top = check_count("top", config.top)
    require(config.files, "no files are named: name pictures or volumes after the checkpoint")
    source = shipped.find(config.checkpoint)
    require(not source.is_dir(), f"{source} is a folder: name a file in it")
    classifier = Classifier(source)
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
