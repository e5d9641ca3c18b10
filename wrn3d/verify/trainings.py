"""Small runs of both front ends, and the digests of their weights after each iteration."""

from typing import Any

import numpy as np

from wrn3d.data import digits
from wrn3d.data.dataset import Dataset
from wrn3d.training.front_ends import SCRIPTS, environment_class
from wrn3d.verify.records import digest

ITERATIONS, SLICES, LOGITS = 4, 8, 20
NETWORK = {"depth": 10, "widen_factor": 1, "batch_size": 24, "iterations": ITERATIONS, "shards": 2}
AUGMENTED = {"dropout": 0.3, "augment": True, "crop_padding": 2, "flip_axes": ("height", "width")}
MOMENTUM = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "learning_rate": 0.05}
RUNS: dict[str, dict[str, Any]] = {
    "images, SGD": NETWORK | AUGMENTED | MOMENTUM,
    "images, Muon": NETWORK
    | MOMENTUM
    | {
        **{"optimizer": "muon", "widen_factor": 4, "shortcut": "projection", "averaging": 0.9},
        **{"label_smoothing": 0.1, "class_weights": True, "augment": True, "cutout": 4},
        **{"crop_padding": 2, "alternate_flips": True, "sizes": (0.75, 1.0)},
    },
    "volumes, Muon": NETWORK
    | AUGMENTED
    | MOMENTUM
    | {"optimizer": "muon", "shortcut": "projection", "flip_axes": ("depth", "height", "width")},
    "volumes, Adam": NETWORK | {"optimizer": "adam", "learning_rate": 1e-3, "batch_norm": "local"},
}
QUICK = "images, SGD, float32"
IN_BFLOAT16 = ("images, Muon", "volumes, Muon")


def runs_in(precisions: tuple[str, ...], portable: bool = False) -> dict[str, dict[str, Any]]:
    """Return {name: settings} of the runs, some of them in several of these precisions.

    Portable runs leave out progressive resizing: NumPy resizes images, and is not portable.
    """
    others: dict[str, Any] = {"portable": True, "sizes": ()} if portable else {}
    return {
        f"{name}, {precision}": settings | {"precision": precision} | others
        for precision in precisions
        for name, settings in RUNS.items()
        if precision == "float32" or name in IN_BFLOAT16
    }


def train(settings: dict[str, Any], volumes: bool) -> dict[str, dict[str, str]]:
    """Train with each front end; return {front end: {moment of the run: digest}}."""
    dataset = digit_volumes() if volumes else digit_images()
    return {front_end: _train(front_end, settings, dataset) for front_end in SCRIPTS}


def _train(front_end: str, settings: dict[str, Any], dataset: Dataset) -> dict[str, str]:
    environment = environment_class(front_end)(data=dataset, **settings)
    found = {"start": _state(environment)}
    for iteration in range(1, ITERATIONS + 1):
        environment.step()
        found[f"iteration {iteration}"] = _state(environment)
    found["logits"] = digest(environment.predict(dataset.normalise(dataset.test_volumes[:LOGITS])))
    return found


def _state(environment: Any) -> str:
    """Return the digest of the weights, which the front ends keep in different orders.

    Raises FloatingPointError if a weight is not finite.
    """
    arrays = environment.get_weights()
    weights = np.concatenate([arrays[name].ravel() for name in sorted(arrays)])
    if not np.isfinite(weights).all():
        raise FloatingPointError("a weight is not finite")
    return digest(weights)


def digit_images() -> Dataset:
    """Return the embedded digits as images of 16x16 pixels."""
    return digits.load().resized(16)


def digit_volumes() -> Dataset:
    """Return volumes of 8x8x8 voxels: eight consecutive digits as slices, the first as label."""
    whole = digits.load()
    scans, labels = whole.train_volumes[:, 0, ::4, ::4, 0], whole.train_labels
    count = len(scans) // SLICES
    volumes = scans[: count * SLICES].reshape(count, SLICES, *scans.shape[1:], 1)
    first = labels[: count * SLICES : SLICES]
    half = count // 2
    return Dataset.from_arrays(
        volumes[:half], first[:half], volumes[half:], first[half:], title="digits as slices"
    )
