"""What a network gets wrong: class by class, and the worst of it as pictures."""

from math import ceil

import numpy as np

from wrn3d.runs.figures import MATHLESS, save_figure, shown
from wrn3d.system.reporting import markdown_table

LONGEST_TABLE = 20  # classes; of more the worst are shown
WITH_NUMBERS, WITH_NAMES = 25, 100  # classes, at most, of a matrix that is drawn with them
WORST = 24  # pictures
CELL, TITLE, PICTURE = (1.6, 2.0), 0.45, 1.45  # inches: a picture with its title, either


def confusion_matrix(predictions, classes) -> np.ndarray:
    """(classes, classes) counts of Predictions: a row for each class that volumes have, a column
    for each that they are taken for."""
    found = np.zeros((classes, classes), np.int64)
    np.add.at(found, (predictions.labels, predictions.classes), 1)
    return found


def class_table(matrix, names) -> str:
    """Each class's accuracy and what it is most often taken for, the worst first, as Markdown."""
    counts = matrix.sum(axis=1)
    shares = np.diag(matrix) / np.maximum(counts, 1)
    present = [row for row in np.argsort(shares, kind="stable") if counts[row]]
    rows = []
    for row in present[:LONGEST_TABLE]:
        others = np.where(np.arange(len(names)) == row, 0, matrix[row])
        taken = (
            f"{shown(names[others.argmax()])} ({others.max() / counts[row]:.1%})"
            if others.any()
            else "-"
        )
        rows.append([shown(names[row]), f"{counts[row]:,}", f"{shares[row]:.4f}", taken])
    title = (
        "class, the worst first"
        if len(present) <= LONGEST_TABLE
        else f"the worst {LONGEST_TABLE} classes"
    )
    return markdown_table([title, "images", "accuracy", "most often taken for"], rows)


def draw_confusion(matrix, names, path):
    """Write the matrix as a PNG, in shares of each row; raises what `atomic_file` does."""
    from matplotlib.figure import Figure

    side = min(12, 3 + 0.45 * len(names))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    panel = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure.colorbar(
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1),
        shrink=0.8,
        label="share of the class's images",
    )
    size = 9 if len(names) <= WITH_NUMBERS else 4
    if len(names) <= WITH_NAMES:
        labels = [shown(name) for name in names]
        panel.set_xticks(range(len(names)), labels, rotation=90, fontsize=size, **MATHLESS)
        panel.set_yticks(range(len(names)), labels, fontsize=size, **MATHLESS)
    panel.set_xlabel("taken for")
    panel.set_ylabel("class")
    if len(names) <= WITH_NUMBERS:
        for row, column in np.argwhere(matrix):
            panel.text(
                column,
                row,
                matrix[row, column],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[row, column] > 0.5 else "black",
            )
    save_figure(figure, path)


def draw_worst(volumes, predictions, names, path):
    """Write the volumes (N, D, H, W, C) uint8 that are most confidently taken for another class as
    a PNG: of each its middle slice, what it is taken for with which probability, and its class.

    Raises what `atomic_file` does.
    """
    from matplotlib.figure import Figure

    taken, labels = predictions.classes, predictions.labels
    confidence = np.exp(predictions.log_probabilities.max(axis=1))
    worst = [row for row in np.argsort(-confidence, kind="stable") if taken[row] != labels[row]]
    worst = worst[:WORST]
    columns = min(8, max(1, len(worst)))
    rows = max(1, ceil(len(worst) / columns))
    # All on one panel, in inches: matplotlib takes five times as long to lay out one for each.
    wide, high = CELL[0] * columns, CELL[1] * rows
    figure = Figure(figsize=(wide, high))
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(high, 0))
    panel.set_axis_off()
    for place, row in enumerate(worst):
        picture = volumes[row, volumes.shape[1] // 2]
        height, width = (PICTURE * side / max(picture.shape[:2]) for side in picture.shape[:2])
        x, y = CELL[0] * (place % columns + 0.5), CELL[1] * (place // columns) + TITLE
        panel.imshow(
            picture.squeeze(-1) if picture.shape[-1] == 1 else picture,
            cmap="gray",
            vmin=0,
            vmax=255,
            interpolation="nearest",
            aspect="auto",
            extent=(x - width / 2, x + width / 2, y + height, y),
        )
        panel.text(
            x,
            y - 0.06,
            f"{shown(names[taken[row]])} ({confidence[row]:.1%})\ninstead of "
            f"{shown(names[labels[row]])}",
            ha="center",
            fontsize=8,
            **MATHLESS,
        )
    if not len(worst):
        panel.text(wide / 2, high / 2, "no mistakes", ha="center")
    save_figure(figure, path)
