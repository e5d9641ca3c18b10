"""A run's whole state at one moment, in memory and as one safetensors file."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from wrn3d.system.checks import check_count, check_number, check_path, require
from wrn3d.system.errors import DataError, reason
from wrn3d.system.files import atomic_file, require_file
from wrn3d.training import shipped

FORMAT = 3  # the file format's version; 1 and 2 had another header
HEADER = "wrn3d checkpoint"  # the only metadata key: safetensors would shuffle several
LEARNED = ("momentum", "velocity", "average")
KINDS = (*LEARNED, "normalisation")  # kinds of arrays besides the weights
ROWS = "training/rows"  # the name of `rows` in a file
COUNTERS = ("iteration", "epochs_completed", "index_in_epoch")
NUMBERS = (*COUNTERS, "learning_rate_scale")
BEST = "best.safetensors"  # in the folder of a run
CHECKPOINT_NAME = re.compile(r"checkpoint-([0-9]+)\.safetensors")
KERNEL_DEPTH = 3  # of the kernels that `slim` cuts


def checkpoint_file(path: str | Path, best: bool = True) -> Path:
    """Return the file at a path, of a trained network by its name, or of a run by its folder.

    Of a run it is the `best` checkpoint, or else the newest; a folder without one is returned as it
    came. Raises UsageError if `path` is no path.
    """
    path = shipped.find(check_path("path", path))
    if not os.path.isdir(path):
        return path
    found = sorted(one for one in path.iterdir() if CHECKPOINT_NAME.fullmatch(one.name))
    files = [path / BEST] if best and (path / BEST).is_file() else found[-1:]
    return files[0] if files else path


def is_checkpoint(path: str | Path) -> bool:
    """Return whether the file is a checkpoint of any format version."""
    try:
        with safe_open(path, framework="numpy") as file:
            return HEADER in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run's arrays, by canonical name, and the position of its next batch.

    `momentum` and, for Adam, `velocity` are the optimizer's state. `average` is the EMA of the
    weights. Each is empty if the run has none. `normalisation` has the "mean" and "std" of the
    training data. `rows` are the training rows in use, (N,) int64, or None if all are. `config`
    holds the settings of the run that wrote the checkpoint. `learning_rate_scale` multiplies the
    learning rate; it is below 1 after divergence.

    There is no other state: order, crops, flips and dropout follow from the seed and the position.
    """

    weights: dict[str, np.ndarray]
    momentum: dict[str, np.ndarray] = field(default_factory=dict)
    iteration: int = 0
    epochs_completed: int = 0
    index_in_epoch: int = 0
    learning_rate_scale: float = 1.0
    config: dict[str, Any] = field(default_factory=dict)
    velocity: dict[str, np.ndarray] = field(default_factory=dict)
    average: dict[str, np.ndarray] = field(default_factory=dict)
    normalisation: dict[str, np.ndarray] = field(default_factory=dict)
    rows: np.ndarray | None = None

    def check(self) -> None:
        """Raise UsageError for anything but dictionaries and numbers, before it is restored."""
        for kind in ("weights", *KINDS, "config"):
            value = getattr(self, kind)
            require(
                isinstance(value, Mapping),
                f"{kind} of a checkpoint is {type(value).__name__}, but must be a dictionary",
            )
        for name in COUNTERS:
            check_count(name, getattr(self, name), least=0)
        check_number("learning_rate_scale", self.learning_rate_scale)

    @property
    def evaluated(self) -> dict[str, np.ndarray]:
        """The weights to evaluate with: the average, if there is one."""
        return self.average or self.weights

    def save(self, path: str | Path) -> None:
        """Write one safetensors file atomically; the same state gives the same bytes.

        Raises UsageError if `path` is no path, and what `atomic_file` raises.
        """
        path = check_path("path", path)
        arrays = self.weights | {
            f"{kind}/{name}": array for kind in KINDS for name, array in getattr(self, kind).items()
        }
        if self.rows is not None:
            arrays[ROWS] = self.rows
        # safetensors ignores an array's strides.
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        header = {
            "format": FORMAT,
            "config": self.config,
            **{name: getattr(self, name) for name in NUMBERS},
        }
        header = json.loads(json.dumps(header, default=str))  # a Path becomes text
        header["sha256"] = _checksum(arrays, header)
        with atomic_file(path) as unfinished:
            unfinished.touch()  # the usual permissions, which safetensors would narrow
            permissions = unfinished.stat().st_mode
            try:
                save_file(arrays, unfinished, {HEADER: json.dumps(header)})
            except SafetensorError as error:
                raise OSError(str(error)) from error
            unfinished.chmod(permissions)

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Read a file that `save` wrote; `checkpoint_file` says what else `path` may be.

        Raises UsageError if `path` is no path, MissingDataError if the file does not exist, and
        DataError if it is damaged or of another kind.
        """
        path = checkpoint_file(path)
        known = ", ".join(shipped.names())
        require_file(
            path,
            "name a checkpoint's file, or the folder of a run that has saved one"
            + (known and f", or a trained network: {known}"),
        )
        try:
            with safe_open(path, framework="numpy") as file:
                header = _header(file.metadata() or {})
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header.pop("sha256", None) != _checksum(arrays, header):
                raise ValueError("its checksum is wrong: the file is damaged")
            arrays = {name: _whole(name, array) for name, array in arrays.items()}
            numbers = _numbers(header)
            config = dict(header["config"])
        except (
            SafetensorError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise DataError(f"{path} cannot be read as a checkpoint ({reason(error)})") from error
        others: dict[str, Any] = {
            kind: {
                name.removeprefix(f"{kind}/"): arrays.pop(name)
                for name in list(arrays)
                if name.startswith(f"{kind}/")
            }
            for kind in KINDS
        }
        rows = arrays.pop(ROWS, None)
        return cls(weights=arrays, config=config, rows=rows, **others, **numbers)


def slim(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> Checkpoint:
    """Return what a shipped file has of a checkpoint: its evaluated weights and normalisation.

    Kernels and the mean are float16. Kernels for images keep the slice at the centre of their
    depth; the other slices meet nothing but padding. `settings` become the `config`.
    """
    images = checkpoint.normalisation["mean"].shape[1] == 1

    def small(array: np.ndarray) -> np.ndarray:
        if array.ndim == 5 and images:
            array = array[[len(array) // 2]]
        return array.astype(np.float16) if array.ndim > 1 else array

    return Checkpoint(
        {name: small(array) for name, array in checkpoint.evaluated.items()},
        normalisation={name: small(array) for name, array in checkpoint.normalisation.items()},
        config=dict(settings),
    )


def _whole(name: str, array: np.ndarray) -> np.ndarray:
    """Return an array that `slim` may have made smaller in float32, with 0 for what it left out."""
    if array.dtype != np.float16:
        return array
    array = array.astype(np.float32)
    is_centre = "/" not in name and array.ndim == 5 and array.shape[:2] == (1, KERNEL_DEPTH)
    return np.pad(array, [(1, 1), *[(0, 0)] * 4]) if is_centre else array


def _header(metadata: dict[str, str]) -> dict[str, Any]:
    """Return the header that `save` wrote; raise ValueError for other files or formats."""
    if HEADER not in metadata:
        raise ValueError("it is a safetensors file that wrn3d did not write")
    header: dict[str, Any] = json.loads(metadata[HEADER])
    if header["format"] != FORMAT:
        raise ValueError(
            f"its format is {header['format']}, but this version reads format {FORMAT}"
        )
    return header


def _numbers(header: dict[str, Any]) -> dict[str, Any]:
    """Return the NUMBERS of a header; raise ValueError for invalid ones."""
    numbers: dict[str, Any] = {name: check_count(name, header[name], least=0) for name in COUNTERS}
    scale = numbers["learning_rate_scale"] = check_number("scale", header["learning_rate_scale"])
    if not 0 < scale <= 1:
        raise ValueError(f"its learning_rate_scale is {scale}, but must be above 0, up to 1")
    return numbers


def _checksum(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> str:
    """Return a checksum of the header and of the arrays' names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    digest.update(json.dumps(header, sort_keys=True).encode())
    return digest.hexdigest()
