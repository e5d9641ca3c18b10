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

from wrn3d.checks import check_count, require
from wrn3d.classifier import Classifier
from wrn3d.command import exit_status
from wrn3d.errors import visible
from wrn3d.reporting import markdown_table


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


def main() -> int:
    """Classify; returns the exit status, as `exit_status` says."""
    return exit_status(predict, tyro.cli(PredictConfig, prog="python -m wrn3d.predict",
                                         description=__doc__))


def predict(config):
    """Do what `config` says and print it; raises UserError."""
    top = check_count("top", config.top)
    require(config.files, "no files are named: name pictures or volumes after the checkpoint")
    for path in (config.checkpoint, *config.files):
        require(not path.is_dir(), f"{path} is a folder: name files in it")
    classifier = Classifier(config.checkpoint)
    volumes = np.stack([classifier.read(path) for path in config.files])
    # {class: probability} of each, the most probable first.
    found = [dict(sorted(zip(classifier.class_names, map(float, row), strict=True),
                         key=lambda pair: -pair[1])) for row in classifier(volumes)]
    named = list(zip(map(str, config.files), found, strict=True))
    if config.json:
        print(json.dumps([{"file": path, "class": next(iter(row)), "probabilities": row}
                          for path, row in named], indent=2))
        return
    titles = ["file", "most probable", *["then"] * (min(top, len(found[0])) - 1)]
    print(markdown_table(titles, [
        [visible(path), *[f"{visible(name)} {share:.2%}" for name, share in row.items()][:top]]
        for path, row in named]))


if __name__ == "__main__":
    sys.exit(main())
