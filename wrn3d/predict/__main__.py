"""Classify pictures and volumes with a trained network.

    python -m wrn3d.predict cifar10 cat.png dog.jpg
    python -m wrn3d.predict runs/adrenal volume.npy scans/ --json
    python -m wrn3d.predict runs/adrenal scan.nii.gz --explain

The network is a trained one of this package, a run, or a checkpoint of a run.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from wrn3d.data.voxels import Voxels
from wrn3d.network.spec import LAST_GROUP
from wrn3d.predict.explanation import Explainer
from wrn3d.predict.sources import find_sources
from wrn3d.scores.results import probability_columns
from wrn3d.system.checks import check_choice, check_count, require
from wrn3d.system.errors import DataError, MissingDataError, visible
from wrn3d.system.flags import run_command
from wrn3d.system.reporting import markdown_table, write_table
from wrn3d.system.terminal import Progress
from wrn3d.training.ensemble import Network, open_network

TOGETHER = 64  # volumes


@dataclass(frozen=True)
class PredictConfig:
    """The files to classify, and the network to use."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """A trained network's name, such as cifar10, a run's folder, a .safetensors file, or the folder
    of a cross-validation, whose networks are averaged. If there is an EMA of the weights, that is
    used."""
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE...")]
    """Pictures (.png, .jpg, ...), cropped to the network's proportions; arrays (.npy) of one volume
    or a stack of them; scans (.nii, .nii.gz, .nrrd, .mha, .dcm, or a folder with one DICOM series);
    the images of an .npz file; or folders of these. All are prepared as the training data were."""
    top: int = 3
    """Number of classes to show for each file, the most probable ones."""
    json: bool = False
    """Print JSON, with the probabilities of all classes."""
    csv: Path | None = None
    """File to write the probabilities of all classes to, as a table."""
    explain: bool = False
    """Also show where the network looks (Grad-CAM): a picture NAME.explain.png for each file, and
    the map itself, NAME.explain.nii.gz for scans and NAME.explain.npy for others."""
    label: str | None = None
    """Class to explain, by default the predicted one."""
    group: int = LAST_GROUP
    """Group of the network to explain with, 0, 1 or 2: earlier ones have finer maps."""
    output: Path = Path()
    """Folder for the explanations."""


def main() -> int:
    """Classify as the command line asks; return what `exit_status` returns."""
    return run_command(predict, PredictConfig, "wrn3d.predict", __doc__)


def predict(config: PredictConfig) -> int:
    """Classify the files, print the classes, and return the exit status.

    It is 1 if a file cannot be read; standard error says which. Raises UserError.
    """
    check_count("top", config.top)
    require(config.files, "no files are named: name pictures or volumes after the checkpoint")
    require(
        config.explain or config.label is None,
        "label says which class to explain: add --explain, or leave label out",
    )
    if config.csv and not config.csv.parent.is_dir():
        raise MissingDataError(f"{config.csv.parent} is not a folder: create it, or name another")
    classifier = open_network(config.checkpoint)
    if config.label is not None:
        check_choice("label", config.label, classifier.class_names)
    explain = Explainer(classifier, config.label, config.group, config.output)
    network = classifier.network
    sources = [source for path in config.files for source in find_sources(path, network)]
    failed = False
    names: list[str] = []
    results: list[np.ndarray] = []  # probabilities (N, num_classes)
    waiting: list[Voxels] = []
    with Progress(len(sources), "classifying") as progress:
        for source in sources:
            try:
                item = source.read(network)
                if config.explain:
                    explain(source, item)
            except (DataError, MissingDataError) as error:
                failed = True
                print(f"error: {visible(str(error))}", file=sys.stderr)
            else:
                names.append(source.name)
                waiting.append(item.volume)
            if len(waiting) == TOGETHER:
                results.append(classifier(np.stack(waiting)))
                waiting.clear()
            progress.advance()
    if waiting:
        results.append(classifier(np.stack(waiting)))
    if names:
        _show(classifier, names, np.concatenate(results), config)
    if explain.pictures:
        others = f" and {len(explain.pictures) - 1:,} more" if len(explain.pictures) > 1 else ""
        print(f"explained  {visible(str(explain.pictures[0]))}{others}", file=sys.stderr)
    return 1 if failed else 0


def _show(
    classifier: Network,
    names: Sequence[str],
    results: np.ndarray,
    config: PredictConfig,
) -> None:
    """Print the probabilities (N, num_classes) of the named files."""
    rows = []  # (file, {class: probability}, most probable first)
    for name, probabilities in zip(names, results.tolist(), strict=True):
        pairs = zip(classifier.class_names, probabilities, strict=True)
        rows.append((name, dict(sorted(pairs, key=lambda pair: -pair[1]))))
    if config.json:
        content = [
            {"file": file, "class": next(iter(row)), "probabilities": row} for file, row in rows
        ]
        print(json.dumps(content, indent=2))
    else:
        print(_table(rows, min(config.top, len(classifier.class_names))))
    if config.csv:
        lines = [
            [file, next(iter(row)), *(row[name] for name in classifier.class_names)]
            for file, row in rows
        ]
        shares = probability_columns(classifier.class_names)
        write_table(config.csv, [["path", "predicted", *shares], *lines])


def _table(rows: Sequence[tuple[str, dict[str, float]]], top: int) -> str:
    """Return the `top` most probable classes of each (file, {class: probability}) as a table."""
    cells = [
        [visible(path), *[f"{visible(name)} {share:.2%}" for name, share in row.items()][:top]]
        for path, row in rows
    ]
    return markdown_table(["file", "most probable", *["then"] * (top - 1)], cells)


if __name__ == "__main__":
    sys.exit(main())
