"""Find images or volumes that occur in two splits of a data set: scores on them are optimistic."""

import warnings
from hashlib import sha256
from math import prod

import numpy as np
import numpy.typing as npt

from wrn3d.data.arrays import Volumes
from wrn3d.data.dataset import SPLITS, Dataset

SAMPLED = 64  # voxels of a volume: only volumes that are the same there are compared


def duplicates(dataset: Dataset) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each of SPLITS which of its volumes also occur in an earlier one, (N,)."""
    volumes = {split: getattr(dataset, f"{split}_volumes") for split in SPLITS}
    found = {split: np.zeros(len(array), bool) for split, array in volumes.items()}
    samples = {split: _samples(array) for split, array in volumes.items()}
    for number, split in enumerate(SPLITS):
        for earlier in SPLITS[:number]:
            shared = set(samples[split]) & set(samples[earlier])
            known = {_digest(volumes[earlier][row]) for row in _rows(samples[earlier], shared)}
            for row in _rows(samples[split], shared):
                found[split][row] |= _digest(volumes[split][row]) in known
    return found


def warn_of_duplicates(dataset: Dataset, stacklevel: int) -> None:
    """Count the volumes that occur in two splits in one warning, if there are any."""
    counts = [
        f"{np.count_nonzero(rows):,} of the {len(rows):,} {split} volumes"
        for split, rows in duplicates(dataset).items()
        if rows.any()
    ]
    if counts:
        warnings.warn(
            f"{' and '.join(counts)} of {dataset.title} also occur in an earlier split: their "
            "scores are optimistic, and tests have scores without them, too",
            stacklevel=stacklevel + 1,
        )


def _samples(volumes: Volumes) -> list[bytes]:
    """Return a few voxels of each volume."""
    rows = np.ascontiguousarray(volumes).reshape(len(volumes), prod(volumes.shape[1:]))
    step = rows.shape[1] // SAMPLED | 1  # odd, and so in other places of each row of voxels
    return [row.tobytes() for row in np.ascontiguousarray(rows[:, ::step])]


def _rows(samples: list[bytes], shared: set[bytes]) -> list[int]:
    return [row for row, sample in enumerate(samples) if sample in shared]


def _digest(volume: Volumes) -> bytes:
    return sha256(np.ascontiguousarray(volume).data).digest()
