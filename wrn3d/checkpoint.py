"""A run's whole state at one moment, in memory and as one safetensors file."""
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wrn3d.errors import DataError, MissingDataError
from wrn3d.files import write_whole

FORMAT = "wrn3d checkpoint "
VERSION = 2  # from which on there is a checksum
MOMENTUM_PREFIX = "momentum/"
COUNTERS = ("iteration", "epochs_completed", "index_in_epoch")


def is_checkpoint(path) -> bool:
    """Whether a file says of itself that it is one, of whatever format number."""
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format", "").startswith(FORMAT)
    except (SafetensorError, OSError):
        return False


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights and momentum by canonical name, and the position of the next batch.

    Nothing else has to be kept: order, crops, flips and dropout follow from seed and position.
    `config` describes the run that wrote it, for people.
    """

    weights: dict[str, np.ndarray]
    momentum: dict[str, np.ndarray] = field(default_factory=dict)
    iteration: int = 0
    epochs_completed: int = 0
    index_in_epoch: int = 0
    config: dict = field(default_factory=dict)

    def save(self, path) -> None:
        """Write one safetensors file, whole or not at all; raises what `write_whole` does."""
        arrays = self.weights | {MOMENTUM_PREFIX + name: array
                                 for name, array in self.momentum.items()}
        # safetensors writes memory as it lies, whatever an array's strides say.
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        metadata = {"format": f"{FORMAT}{VERSION}", "config": json.dumps(self.config, default=str),
                    **{name: str(getattr(self, name)) for name in COUNTERS}}
        metadata["sha256"] = _checksum(arrays, metadata)
        write_whole(path, save(arrays, metadata))

    @classmethod
    def load(cls, path) -> "Checkpoint":
        """Read a file that `save` wrote.

        Raises MissingDataError where there is none and DataError for another kind of file.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingDataError(f"{path} is not there, or no file: name a saved checkpoint")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _check_format(metadata.get("format"))
            if metadata.pop("sha256", None) != _checksum(arrays, metadata):
                raise ValueError("its checksum is another: it was damaged")
            counters = {name: int(metadata[name]) for name in COUNTERS}
            config = json.loads(metadata["config"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no checkpoint that can be read ({error})") from error
        momentum = {name.removeprefix(MOMENTUM_PREFIX): arrays.pop(name)
                    for name in list(arrays) if name.startswith(MOMENTUM_PREFIX)}
        return cls(weights=arrays, momentum=momentum, config=config, **counters)


def _check_format(said):
    version = (said or "").removeprefix(FORMAT)
    if version == said or not version.isdecimal():
        raise ValueError(f"its format is {said!r}, not {FORMAT + str(VERSION)!r}")
    if int(version) > VERSION:
        raise ValueError(f"its format {version} is newer than this project's, {VERSION}: update "
                         "the project")
    if int(version) < VERSION:
        raise ValueError(f"its format {version} is no longer read: {VERSION} is")


def _checksum(arrays, metadata):
    """Of names, types, shapes and contents, and of the metadata."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array)
    digest.update(json.dumps(metadata, sort_keys=True).encode())
    return digest.hexdigest()
