"""The weights that a run starts from: fresh ones, or those of a trained network (--init)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wrn3d.network.parameters import initial_weights, network_parameters, part_of
from wrn3d.network.spec import WideResNetSpec
from wrn3d.network.variables import fitting_arrays
from wrn3d.system.errors import DataError, reason
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.config import CLASSES

HEAD = "fc"  # the part whose shape depends on the classes


class InitialWeights(NamedTuple):
    """The arrays of a trained network that a run starts from, and a note about them.

    `arrays` is empty if there is no such network, and lacks the head if its classes are others.
    """

    arrays: dict[str, np.ndarray]
    note: str = ""

    @classmethod
    def of(
        cls, path: Path | None, spec: WideResNetSpec, class_names: Sequence[str]
    ) -> "InitialWeights":
        """Read the weights at a path, as `Checkpoint.load` does, or their EMA; None has none.

        Raises DataError if they belong to a network that differs in more than its classes, and
        what `Checkpoint.load` raises.
        """
        if path is None:
            return cls({})
        checkpoint = Checkpoint.load(path)
        parameters = {one.name: one for one in network_parameters(spec)}
        arrays, names = checkpoint.evaluated, checkpoint.config.get(CLASSES, class_names)
        head = {name for name in parameters if part_of(name) == HEAD}
        same_shapes = all(
            name in arrays and arrays[name].shape == parameters[name].shape for name in head
        )
        has_head = same_shapes and list(names) == list(class_names)
        kept = {name: one for name, one in parameters.items() if has_head or name not in head}
        others = {name: array for name, array in arrays.items() if name in kept or name not in head}
        try:
            fitted = fitting_arrays(kept, others, f"weights for {spec.name}")
        except DataError as error:
            raise DataError(
                f"{path} does not fit the network ({reason(error)}): choose its depth, "
                "widen_factor and shortcut, and data with its channels"
            ) from error
        head_note = "" if has_head else f", but the head is new, for {spec.num_classes} classes"
        return cls(fitted, f"weights of {path}{head_note}")

    def for_seed(self, spec: WideResNetSpec, seed: int) -> dict[str, np.ndarray]:
        """Return all weights of a run with this seed, {canonical name: float32 array}."""
        return initial_weights(spec, seed) | self.arrays
