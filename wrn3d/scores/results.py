"""The results of an evaluation: as text, as JSON, and as pictures in a folder."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wrn3d.data.dataset import Dataset
from wrn3d.runs.figures import run_name
from wrn3d.runs.mistakes import confusion_matrix, draw_confusion
from wrn3d.scores import measuring, pictures
from wrn3d.scores.comparison import comparison_table
from wrn3d.scores.measuring import Measured
from wrn3d.system.files import write_atomic
from wrn3d.system.reporting import writing_to
from wrn3d.training.evaluation import Predictions


class Evaluation(NamedTuple):
    """A network's results on a data set, by the names of `ways_to_measure`."""

    path: Path
    dataset: Dataset
    results: dict[str, Measured]
    is_own: bool  # the data set is the one that the network was trained on

    @property
    def as_json(self) -> dict[str, Any]:
        """The results by name."""
        names = self.dataset.class_names
        return {name: result.by_name(names) for name, result in self.results.items()}


def show(evaluations: Sequence[Evaluation]) -> None:
    """Print the tables of one evaluation, or of two and their comparison."""
    for one in evaluations:
        if len(evaluations) > 1:
            print(f"{one.path}\n")
        first = next(iter(one.results.values()))
        print(measuring.score_table(one.results))
        print(f"\n{measuring.class_table(first, one.dataset.class_names)}")
        if len(evaluations) > 1:
            print()
    if len(evaluations) == 2:
        print(comparison_table(*(next(iter(one.results.values())) for one in evaluations)))


def write(folder: Path, evaluations: Sequence[Evaluation], content: Mapping[str, Any]) -> None:
    """Write `content` as scores.json, and each evaluation's pictures and predictions.csv.

    Raises what `atomic_file` raises.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "scores.json", json.dumps(content, indent=2).encode())
    for one, prefix in zip(evaluations, ("", "second-"), strict=False):
        names = one.dataset.class_names
        split, result = next(iter(one.results.items()))
        title = f"{run_name(one.path)}, {split} split of {one.dataset.title}"
        matrix = confusion_matrix(result.predictions, len(names))
        draw_confusion(matrix, names, folder / f"{prefix}confusion.png", title)
        pictures.draw_roc(result, names, folder / f"{prefix}roc.png", title)
        pictures.draw_reliability(result, folder / f"{prefix}reliability.png", title)
        table = _predictions_table(result.predictions, names)
        encoded = table.encode("utf-8", "surrogateescape")
        write_atomic(folder / f"{prefix}predictions.csv", encoded)


def _predictions_table(predictions: Predictions, names: Sequence[str]) -> str:
    """Return the class and the probabilities of each volume as the text of a .csv file.

    `row` is its place in what was measured, from 0; `path` and `group` are its file's, if it has
    one.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    shares = [f"probability of {name}" for name in names]
    writer.writerow(["row", "path", "group", "label", "predicted", *shares])
    nameless = [""] * len(predictions.labels)
    columns = zip(
        *(predictions.listing or (nameless, nameless)),
        (names[label] for label in predictions.labels),
        (names[label] for label in predictions.classes),
        np.exp(predictions.log_probabilities).tolist(),
        strict=True,
    )
    for row, (*cells, numbers) in enumerate(columns):
        writer.writerow([row, *cells, *numbers])
    return text.getvalue()
