"""Predictions on a split, and the scores that follow from them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite, nan, prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data.augmentation import AXES
from wrn3d.data.dataset import Dataset
from wrn3d.data.duplicates import duplicates
from wrn3d.data.listing import Listing
from wrn3d.distributed.workers import Worker
from wrn3d.network.spec import WideResNetSpec
from wrn3d.system.checks import require
from wrn3d.system.errors import quoted
from wrn3d.system.memory import enough_for

ALONE = Worker()
# May wrap a list of batches, as a progress bar does.
Track = Callable[[Iterable[Any]], Iterable[Any]]
Normalise = Callable[[np.ndarray], np.ndarray]
LOGGED = ("loss", "accuracy", "balanced_accuracy", "auc")  # scores of each evaluation
UNIQUE = "_unique"  # ends the names of results without duplicates
BEST_PREFIX = "best_"  # begins the names of results of the best checkpoint
LARGEST_BATCH, LARGEST_VOXELS = 200, 2**20  # volumes and voxels in one batch


class EvalResult(NamedTuple):
    """Scores on a split: mean cross-entropy, accuracy, balanced accuracy, area under the ROC curve.

    Balanced accuracy is the mean of the classes' accuracies. `auc` is NaN if a class has no sample
    or a probability is NaN. `metrics` are those of the caller's own functions, by name.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float = nan
    auc: float = nan
    metrics: Mapping[str, float] = MappingProxyType({})

    @property
    def by_name(self) -> dict[str, float]:
        """All scores by name, the own metrics last."""
        return {name: getattr(self, name) for name in LOGGED} | dict(self.metrics)

    @property
    def as_json(self) -> dict[str, float | None]:
        """The scores by name, None for those that are NaN or infinite, which JSON lacks."""
        scores = self.by_name.items()
        return {name: score if isfinite(score) else None for name, score in scores}


class Predictions(NamedTuple):
    """A split's log probabilities (N, classes) float64 and labels (N,), and its files if known."""

    log_probabilities: np.ndarray
    labels: np.ndarray
    listing: Listing | None = None

    @property
    def groups(self) -> np.ndarray:
        """The number of each volume's group, (N,); without groups, each is alone."""
        return self.listing.group_numbers if self.listing else np.arange(len(self.labels))

    @property
    def classes(self) -> np.ndarray:
        """The predicted class of each volume, (N,)."""
        classes: np.ndarray = self.log_probabilities.argmax(axis=1)
        return classes

    def only(self, rows: np.ndarray) -> "Predictions":
        """Return the predictions of these rows, indices or a mask."""
        listing = self.listing and self.listing.only(rows)
        return Predictions(self.log_probabilities[rows], self.labels[rows], listing)


def predict_views(
    predict: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    split: str,
    track: Track = iter,
    mirror_axes: Sequence[str] = (),
    worker: Worker = ALONE,
    normalise: Normalise | None = None,
) -> list[Predictions]:
    """Predict a split's volumes, then their mirror images.

    Args:
        predict: returns the logits (N, num_classes) of normalised volumes (N, D, H, W, C).
        track: may wrap the list of batches, as a progress bar does.
        mirror_axes: some of AXES; every combination of them gives a view.
        worker: several workers share the batches, and each returns all predictions.
        normalise: replaces the data set's, for a network that was trained on other data.

    Raises UsageError for a split that does not exist, or if `track` is no function.
    """
    volumes, labels = dataset.split(split)
    require(callable(track), f"track is {quoted(track)}, but must be a function of a list")
    ways = _ways_to_mirror(volumes.shape, mirror_axes)
    scores = np.zeros((len(ways), len(labels), len(dataset.class_names)))
    for number, rows in enumerate(batches(volumes, track)):
        if number % worker.count == worker.index:
            normalised = (normalise or dataset.normalise)(volumes[rows])
            for way, view_scores in zip(ways, scores, strict=True):
                view = np.ascontiguousarray(np.flip(normalised, way))
                view_scores[rows] = log_probabilities(predict(view))
    [scores] = worker.sum([scores])
    listing = dataset.listings.get(split)
    return [Predictions(view_scores, labels, listing) for view_scores in scores]


def _ways_to_mirror(shape: Sequence[int], names: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the axes to flip for each view of volumes (N, D, H, W, C); none for the first."""
    ways: list[tuple[int, ...]] = [()]
    for axis in (1 + AXES.index(name) for name in names):
        if shape[axis] > 1:
            ways += [(*way, axis) for way in ways]
    return ways


@np.errstate(invalid="ignore")  # after divergence
def mean_of(views: Sequence[Predictions]) -> Predictions:
    """Return the mean of the probabilities over several views of the same split."""
    together = np.logaddexp.reduce([view.log_probabilities for view in views])
    return views[0]._replace(log_probabilities=together - np.log(len(views)))


def batches(volumes: np.ndarray, track: Track = iter) -> Iterator[slice]:
    """Yield slices of volumes (N, D, H, W, C); larger volumes make shorter slices."""
    size = min(LARGEST_BATCH, max(1, LARGEST_VOXELS // prod(volumes.shape[1:-1])))
    for start in track(range(0, len(volumes), size)):
        yield slice(start, start + size)


def heatmaps(
    spec: WideResNetSpec,
    arrays: Mapping[str, np.ndarray],
    volumes: np.ndarray,
    label: npt.ArrayLike | None,
    group: int,
) -> npt.NDArray[np.float32]:
    """Return `grad_cam` of normalised volumes (N, D, H, W, C), computed in `batches`.

    `label` is one class or (N,) of them, or None for the predicted ones.
    """
    from wrn3d.network.grad_cam import check_labels, grad_cam  # which imports TensorFlow

    labels = check_labels(label, len(volumes), spec.num_classes)
    with enough_for(len(volumes), "explaining"):
        return np.concatenate(
            [
                grad_cam(
                    spec, arrays, volumes[rows], None if labels is None else labels[rows], group
                )
                for rows in batches(volumes)
            ]
        )


def ways_to_measure(
    views: Sequence[Predictions], dataset: Dataset, split: str, mirror: bool
) -> dict[str, Predictions]:
    """Return the predictions of `predict_views` in the ways in which they are measured.

    "test" (or another `split`) is without mirror images, "mirrored" the mean with them, if
    `mirror`. If some volumes also occur in an earlier split, "test_unique" and "mirrored_unique"
    are without them.
    """
    ways = {split: views[0]} | ({"mirrored": mean_of(views)} if mirror else {})
    unique = ~duplicates(dataset)[split]
    if unique.any() and not unique.all():
        ways |= {name + UNIQUE: predictions.only(unique) for name, predictions in ways.items()}
    return ways


def way_text(name: str) -> str:
    """Return what a name of `ways_to_measure`, perhaps after BEST_PREFIX, says.

    An example is ", with mirror images".
    """
    marks = {
        BEST_PREFIX: "best checkpoint",
        "mirrored": "with mirror images",
        UNIQUE: "without duplicates",
    }
    return "".join(f", {text}" for mark, text in marks.items() if mark in name)


def accuracy_says_little(dataset: Dataset) -> bool:
    """Return whether balanced accuracy and AUC are needed, too: two classes, or uneven ones."""
    counts = dataset.class_counts
    return len(counts) == 2 or bool(counts.max() >= 2 * counts.min())


def measure(
    predictions: Predictions,
    with_auc: bool = True,
    metrics: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = MappingProxyType({}),
) -> EvalResult:
    """Return the scores of predictions; the AUC of many classes takes the longest.

    `metrics` are functions of the labels (N,) and probabilities (N, classes).
    """
    log_probabilities, labels, _ = predictions
    right = predictions.classes == labels
    by_class = [right[labels == label].mean() for label in np.unique(labels)]
    losses = -log_probabilities[np.arange(len(labels)), labels]
    return EvalResult(
        float(losses.mean()),
        float(right.mean()),
        float(np.mean(by_class)),
        _auc(np.exp(log_probabilities), labels) if with_auc else nan,
        {name: float(one(labels, np.exp(log_probabilities))) for name, one in metrics.items()},
    )


def _auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the AUC as MedMNIST's evaluator computes it (Yang et al. 2023).

    With two classes that is the AUC of the second; with more, the mean of each class's AUC against
    all others.
    """
    classes = probabilities.shape[1]
    if len(np.unique(labels)) < classes or not np.isfinite(probabilities).all():
        return nan
    from sklearn.metrics import roc_auc_score  # which takes a second to import

    chosen = [1] if classes == 2 else range(classes)
    return float(
        np.mean([roc_auc_score(labels == label, probabilities[:, label]) for label in chosen])
    )


@np.errstate(invalid="ignore")  # after divergence
def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the log softmax of logits (N, classes), in float64."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits
