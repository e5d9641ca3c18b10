"""Draw a network's ROC curves and its reliability."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wrn3d.runs.figures import MATHLESS, add_legend, drawable, new_figure, save_figure
from wrn3d.scores.measuring import Measured, score_text
from wrn3d.scores.scoring import BINS, confidence_bins

MOST_CURVES = 10  # of classes; more would hide each other


def draw_roc(result: Measured, names: Sequence[str], path: Path, title: str) -> None:
    """Draw the ROC curve of the second of two classes, or of each class against all others."""
    from sklearn.metrics import roc_curve  # which takes a second to import

    labels, log_probabilities = result.predictions.labels, result.predictions.log_probabilities
    figure = new_figure(figsize=(5.4, 5.2), layout="constrained")
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    shown = [1] if len(names) == 2 else range(len(names))
    lines = {}
    for label in shown:
        is_class = labels == label
        if 0 < np.count_nonzero(is_class) < len(labels):
            false, true, _ = roc_curve(is_class, log_probabilities[:, label])
            [line] = panel.plot(false, true, linewidth=1.5)
            lines[drawable(names[label])] = line
    panel.set_xlabel("false positive rate")
    panel.set_ylabel("true positive rate (recall)")
    panel.set_aspect("equal")
    score = score_text("auc", result.scores["auc"], result.intervals["auc"])
    figure.suptitle(f"{title}\nAUC {score}", fontsize=10, **MATHLESS)
    if len(lines) <= MOST_CURVES:
        add_legend(panel, lines, loc="lower right", fontsize=8)
    save_figure(figure, path)


def draw_reliability(result: Measured, path: Path, title: str) -> None:
    """Draw accuracy over confidence in BINS bins that have volumes, and how many each has."""
    predictions = result.predictions
    confidence = np.exp(predictions.log_probabilities.max(axis=1))
    right = predictions.classes == predictions.labels
    bins = confidence_bins(confidence)
    counts = np.bincount(bins, minlength=BINS)
    figure = new_figure(figsize=(5.4, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    places = (np.arange(BINS) + 0.5) / BINS
    filled = np.flatnonzero(counts)
    accuracy = np.bincount(bins, right, BINS)[filled] / counts[filled]
    upper.bar(places[filled], accuracy, 0.9 / BINS, color="tab:blue")
    upper.plot(places[filled], accuracy, "o", markersize=4, color="tab:blue", clip_on=False)
    upper.plot([0, 1], [0, 1], color="0.4", linewidth=1)
    upper.set_ylabel("accuracy")
    upper.set_ylim(0, 1)
    lower.bar(places, counts, 0.9 / BINS, color="0.6")
    lower.set_ylabel("volumes")
    lower.set_xlabel("confidence: the probability of the predicted class")
    lower.set_xlim(0, 1)
    name = "calibration_error"
    score = score_text(name, result.scores[name], result.intervals[name])
    figure.suptitle(f"{title}\nexpected calibration error {score}", fontsize=10, **MATHLESS)
    save_figure(figure, path)
