"""A run's whole state at one moment, in memory and as one safetensors file."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from wrn3d.system.checks import check_count, check_number
from wrn3d.system.errors import DataError, reason
from wrn3d.system.files import atomic_file, require_file

FORMAT = 3  # of the file; up to 2 there was another kind of header
HEADER = "wrn3d checkpoint"  # safetensors' only metadata: of several it shuffles the order
LEARNED = ("momentum", "velocity", "average")
KINDS = (*LEARNED, "normalisation")  # of arrays beside the weights
COUNTERS = ("iteration", "epochs_completed", "index_in_epoch")
NUMBERS = (*COUNTERS, "learning_rate_scale")


def is_checkpoint(path) -> bool:
    """Whether a file says of itself that it is one, of whatever format number."""
    try:
        with safe_open(path, framework="numpy") as file:
            return HEADER in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights by canonical name, what the optimizer remembers (Adam has a velocity, too), the
    average of the weights if there is one, the mean and std by which volumes are normalised, and
    the position of the next batch.

    Nothing else has to be kept: order, crops, flips and dropout follow from seed and position.
    `learning_rate_scale` is by what divergence has lowered the run's learning rate. `config` holds
    the settings of the run that wrote it.
    """

    weights: dict[str, np.ndarray]
    momentum: dict[str, np.ndarray] = field(default_factory=dict)
    iteration: int = 0
    epochs_completed: int = 0
    index_in_epoch: int = 0
    learning_rate_scale: float = 1.0
    config: dict = field(default_factory=dict)
    velocity: dict[str, np.ndarray] = field(default_factory=dict)
    average: dict[str, np.ndarray] = field(default_factory=dict)
    normalisation: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def evaluated(self) -> dict[str, np.ndarray]:
        """The weights that evaluation goes by: their average, if there is one."""
        return self.average or self.weights

    def save(self, path) -> None:
        """Write one safetensors file, whole or not at all, the same bytes for the same state;
        raises what `atomic_file` does."""
        arrays = self.weights | {
            f"{kind}/{name}": array for kind in KINDS for name, array in getattr(self, kind).items()
        }
        # safetensors writes memory as it lies, whatever an array's strides say.
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        header = {
            "format": FORMAT,
            "config": self.config,
            **{name: getattr(self, name) for name in NUMBERS},
        }
        header = json.loads(json.dumps(header, default=str))  # a Path, for one, as text
        header["sha256"] = _checksum(arrays, header)
        with atomic_file(path) as unfinished:
            unfinished.touch()  # with the permissions of any other file, which safetensors narrows
            permissions = unfinished.stat().st_mode
            try:
                save_file(arrays, unfinished, {HEADER: json.dumps(header)})
            except SafetensorError as error:
                raise OSError(str(error)) from error
            unfinished.chmod(permissions)

    @classmethod
    def load(cls, path) -> "Checkpoint":
        """Read a file that `save` wrote.

        Raises MissingDataError where there is none and DataError for another kind of file.
        """
        path = Path(path)
        require_file(path, "name a saved checkpoint")
        try:
            with safe_open(path, framework="numpy") as file:
                header = _header(file.metadata() or {})
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header.pop("sha256", None) != _checksum(arrays, header):
                raise ValueError("its checksum is another: it was damaged")
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
            raise DataError(
                f"{path} is no checkpoint that can be read ({reason(error)})"
            ) from error
        others = {
            kind: {
                name.removeprefix(f"{kind}/"): arrays.pop(name)
                for name in list(arrays)
                if name.startswith(f"{kind}/")
            }
            for kind in KINDS
        }
        return cls(weights=arrays, config=config, **others, **numbers)


def _header(metadata):
    """What `save` says beside the arrays; raises ValueError for a format that is not read."""
    if HEADER not in metadata:
        raise ValueError("nothing in it says that this project wrote it, or not this version")
    header = json.loads(metadata[HEADER])
    if header["format"] != FORMAT:
        raise ValueError(
            f"its format is {header['format']}, and {FORMAT} is what is read: it is "
            "another version's"
        )
    return header


def _numbers(header):
    """Those of NUMBERS; raises ValueError for what they can't be."""
    numbers = {name: check_count(name, header[name], least=0) for name in COUNTERS}
    scale = numbers["learning_rate_scale"] = check_number("scale", header["learning_rate_scale"])
    if not 0 < scale <= 1:
        raise ValueError("its numbers are none that a run can have")
    return numbers


def _checksum(arrays, header):
    """Of names, types, shapes and contents, and of the header."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array)
    digest.update(json.dumps(header, sort_keys=True).encode())
    return digest.hexdigest()
