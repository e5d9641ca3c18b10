"""The networks of a cross-validation, which classify with their mean."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wrn3d.network.spec import LAST_GROUP
from wrn3d.system.checks import require
from wrn3d.training.classifier import Classifier

MEMBERS = "fold-*"  # the folders of the runs


class Ensemble:
    """The networks of a cross-validation's folds, used like a Classifier.

    Raises UsageError if they take different volumes, and what Classifier raises.
    """

    def __init__(self, folder: Path) -> None:
        self.members = [Classifier(path) for path in sorted(folder.glob(MEMBERS))]
        self.network, self.class_names = self.members[0].network, self.members[0].class_names
        expected = _preparation(self.members[0])
        require(
            all(_preparation(member) == expected for member in self.members),
            f"the runs in {folder} differ in their classes or in how they prepare volumes: name "
            "one of them",
        )

    def __call__(self, volumes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the mean of the networks' probabilities (N, num_classes) of volumes."""
        mean: npt.NDArray[np.float64] = np.mean([one(volumes) for one in self.members], axis=0)
        return mean

    def explain(
        self, volumes: npt.ArrayLike, label: npt.ArrayLike | None = None, group: int = LAST_GROUP
    ) -> npt.NDArray[np.float32]:
        """Return the mean of the networks' heatmaps, by default of the class that all predict."""
        if label is None:
            label = self(volumes).argmax(axis=1)
        maps = [one.explain(volumes, label, group) for one in self.members]
        mean: npt.NDArray[np.float32] = np.mean(maps, axis=0)
        return mean


def _preparation(classifier: Classifier) -> tuple[object, ...]:
    """Return what has to be the same for the same volumes."""
    network = classifier.network
    prepared = network.kind, network.resizing, network.spacing, network.window
    axes = tuple(classifier.settings.get("flip_axes", ()))
    return (tuple(network.class_names), network.spec.input_shape, *prepared, axes)


Network: TypeAlias = Classifier | Ensemble


def open_network(path: str | Path) -> Network:
    """Return the network at a path, or all of a cross-validation's folder.

    Raises what `Classifier` raises.
    """
    return Ensemble(Path(path)) if is_ensemble(Path(path)) else Classifier(path)


def is_ensemble(path: Path) -> bool:
    """Return whether a path is the folder of a cross-validation."""
    return any(path.glob(MEMBERS))
