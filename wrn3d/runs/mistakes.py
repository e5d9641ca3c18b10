"""Show what a network gets wrong: confusion matrix, accuracy per class, most confident mistakes."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from wrn3d.runs.figures import MATHLESS, drawable, new_figure, save_figure
from wrn3d.system.errors import printable, visible
from wrn3d.system.reporting import markdown_table
from wrn3d.system.words import counted
from wrn3d.training.evaluation import Predictions

LONGEST_TABLE = 20  # classes at most; the table has the worst
WITH_COUNTS, WITH_NAMES = 25, 100  # most classes of a matrix with counts, with names
MOST_MISTAKES = 24  # pictures, at most
# Inches; a cell is (width, height), and HEADING the height above all cells.
CELL, TITLE, PICTURE, HEADING = (1.6, 2.15), 0.6, 1.45, 0.35
LEAST_COLUMNS = 4  # the heading needs their width
IN_CAPTION, IN_FILE_NAME = 12, 18  # characters of a class and a file, at most, within a cell


def confusion_matrix(predictions: Predictions, classes: int) -> np.ndarray:
    """Return the confusion matrix, (classes, classes) int64.

    Rows are true classes, columns are predicted classes.
    """
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (predictions.labels, predictions.classes), 1)
    return matrix


def class_table(matrix: np.ndarray, names: Sequence[str]) -> str:
    """Return a Markdown table with the worst classes' accuracy and most frequent confusion."""
    counts = matrix.sum(axis=1)
    accuracies = np.diag(matrix) / np.maximum(counts, 1)
    present = [row for row in np.argsort(accuracies, kind="stable") if counts[row]]
    rows = []
    for row in present[:LONGEST_TABLE]:
        others = np.where(np.arange(len(names)) == row, 0, matrix[row])
        share = others.max() / counts[row]
        confused = f"{drawable(names[int(others.argmax())])} ({share:.1%})" if share else "-"
        rows.append([drawable(names[row]), f"{counts[row]:,}", f"{accuracies[row]:.4f}", confused])
    title = (
        "class, the worst first"
        if len(present) <= LONGEST_TABLE
        else f"the worst {LONGEST_TABLE} classes"
    )
    return markdown_table([title, "images", "accuracy", "most often predicted as"], rows)


def draw_confusion(matrix: np.ndarray, names: Sequence[str], path: str | Path, title: str) -> None:
    """Draw a confusion matrix as a PNG, coloured by share of the true class.

    `title` says whose it is; the accuracy is added. Raises what `atomic_file` raises.
    """
    side = min(12, 3 + 0.45 * len(names))
    figure = new_figure(figsize=(side + 1, side), layout="constrained")
    panel = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, shrink=0.8, label="share of the class's images")
    right, count = int(np.trace(matrix)), int(matrix.sum())
    score = f"accuracy {right / max(1, count):.4f} ({right:,} of {count:,})"
    figure.suptitle(f"{title}\n{score}", fontsize=10, **MATHLESS)
    panel.set_xlabel("predicted as")
    panel.set_ylabel("true class")
    if len(names) <= WITH_NAMES:
        labels = [drawable(name) for name in names]
        style = {"fontsize": 9 if len(names) <= WITH_COUNTS else 4, **MATHLESS}
        panel.set_xticks(range(len(names)), labels, rotation=90, **style)
        panel.set_yticks(range(len(names)), labels, **style)
    if len(names) <= WITH_COUNTS:
        for row, column in np.argwhere(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            style = {"ha": "center", "va": "center", "fontsize": 8, "color": colour}
            panel.text(column, row, matrix[row, column], **style)
    save_figure(figure, path)


def draw_mistakes(
    volumes: np.ndarray,
    predictions: Predictions,
    names: Sequence[str],
    path: str | Path,
    title: str,
    are_scans: bool = False,
) -> None:
    """Draw the most confident mistakes as a PNG.

    Each mistake is drawn as the middle slice of its volume, below its file or its row in `volumes`,
    the predicted class with its probability, and the true class. `volumes` are (N, D, H, W, C);
    scans are drawn as radiologists look, the patient's right on the left. `title` says whose they
    are; the accuracy is added. Raises what `atomic_file` raises.
    """
    predicted, labels = predictions.classes, predictions.labels
    confidence = np.exp(predictions.log_probabilities.max(axis=1))
    order = np.argsort(-confidence, kind="stable")
    mistakes = [row for row in order if predicted[row] != labels[row]]
    worst = mistakes[:MOST_MISTAKES]
    columns = min(8, max(LEAST_COLUMNS, len(worst)))
    # All pictures share one panel, in inches: one panel each would take five times as long.
    width = CELL[0] * columns
    height = HEADING + CELL[1] * ceil(len(worst) / columns)
    figure = new_figure(figsize=(width, height))
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    panel.set_axis_off()
    score = f"accuracy {1 - len(mistakes) / len(labels):.4f}"
    shown = f"the {len(worst)} most confident of " if len(worst) < len(mistakes) else ""
    total = counted(len(mistakes), "mistake") if mistakes else "no mistakes"
    heading = f"{title}: {score}, {shown}{total}"
    panel.text(0.1, HEADING - 0.08, heading, fontsize=10, **MATHLESS)
    for place, row in enumerate(worst):
        caption = (
            f"{_file_name(predictions, row)}\n"
            f"{printable(names[predicted[row]], IN_CAPTION)} ({confidence[row]:.1%})\n"
            f"true: {printable(names[labels[row]], IN_CAPTION)}"
        )
        x = CELL[0] * (place % columns + 0.5)
        y = HEADING + CELL[1] * (place // columns) + TITLE
        panel.text(x, y - 0.06, caption, ha="center", fontsize=8, **MATHLESS)
        picture = volumes[row, volumes.shape[1] // 2]
        _draw_slice(panel, picture[::-1, ::-1] if are_scans else picture, x, y)
    save_figure(figure, path)


def _file_name(predictions: Predictions, row: int) -> str:
    """Return a volume's row and the end of its file's path, or the row alone if it has none."""
    if predictions.listing is None:
        return f"image {row}"
    path = visible(str(predictions.listing.files[row]))
    return f"{row}: ...{path[-IN_FILE_NAME:]}"


def _draw_slice(panel: Any, picture: np.ndarray, x: float, y: float) -> None:
    """Draw a picture (H, W, C) with the middle of its upper edge at (x, y) inches.

    Bytes run from black to white; other numbers are scaled to their range.
    """
    height, width = (PICTURE * side / max(picture.shape[:2]) for side in picture.shape[:2])
    panel.imshow(
        picture.squeeze(-1) if picture.shape[-1] == 1 else picture,
        cmap="gray",
        vmin=0 if picture.dtype == np.uint8 else None,
        vmax=255 if picture.dtype == np.uint8 else None,
        interpolation="nearest",
        aspect="auto",
        extent=(x - width / 2, x + width / 2, y + height, y),
    )
