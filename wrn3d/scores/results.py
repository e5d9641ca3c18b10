"""The results of an evaluation: as text, as JSON, and as pictures in a folder."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wrn3d.data.arrays import Volumes
from wrn3d.data.dataset import Dataset
from wrn3d.runs.figures import run_name
from wrn3d.runs.mistakes import confusion_matrix, draw_confusion, draw_mistakes
from wrn3d.scores import measuring, pictures
from wrn3d.scores.comparison import comparison_table
from wrn3d.scores.measuring import Measured
from wrn3d.system.errors import visible
from wrn3d.system.files import write_atomic
from wrn3d.system.reporting import write_table, writing_to
from wrn3d.training.checkpoint import checkpoint_file


class Evaluation(NamedTuple):
    """A network's results on a data set, by the names of `ways_to_measure`.

    `is_own` says whether the network was trained on this data set. `volumes` are those measured,
    (N, D, H, W, C), to draw mistakes.
    """

    path: Path
    dataset: Dataset
    results: dict[str, Measured]
    is_own: bool
    volumes: Volumes | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        """The results by name."""
        names = self.dataset.class_names
        return {name: result.by_name(names) for name, result in self.results.items()}


def show(evaluations: Sequence[Evaluation]) -> None:
    """Print the tables of one evaluation, or of two and their comparison."""
    for one in evaluations:
        print(f"{visible(str(checkpoint_file(one.path)))}\n")
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
        if one.volumes is not None:
            mistakes = result.predictions, names, folder / f"{prefix}mistakes.png", title
            draw_mistakes(one.volumes, *mistakes, one.dataset.spacing is not None)
        pictures.draw_roc(result, names, folder / f"{prefix}roc.png", title)
        pictures.draw_reliability(result, folder / f"{prefix}reliability.png", title)
        write_table(folder / f"{prefix}predictions.csv", _prediction_rows(result, names))


def probability_columns(names: Sequence[str]) -> list[str]:
    """Return the titles of the columns of the classes' probabilities."""
    return [f"probability of {name}" for name in names]


def _prediction_rows(result: Measured, names: Sequence[str]) -> Iterator[Sequence[object]]:
    """Yield the rows of a table of each volume's class and probabilities.

    `row` is its place in what was measured, from 0; `path` and `group` are its file's, if it has
    one.
    """
    yield "row", "path", "group", "label", "predicted", *probability_columns(names)
    predictions = result.predictions
    nameless = [""] * len(predictions.labels)
    columns = zip(
        *(predictions.listing or (nameless, nameless)),
        (names[label] for label in predictions.labels),
        (names[label] for label in predictions.classes),
        np.exp(predictions.log_probabilities).tolist(),
        strict=True,
    )
    for row, (*cells, numbers) in enumerate(columns):
        yield row, *cells, *numbers
