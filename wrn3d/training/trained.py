"""The network as a model of either framework, with fresh weights or with those of a file."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wrn3d.data.fitting import Resizing, check_steps
from wrn3d.data.grids import Grid, check_spacing
from wrn3d.data.pictures import MODES
from wrn3d.data.voxels import TYPES
from wrn3d.data.windows import Window, parsed
from wrn3d.network import models
from wrn3d.network.parameters import network_parameters
from wrn3d.network.spec import WideResNetSpec
from wrn3d.network.variables import (
    Model,
    assign,
    check_names_and_shapes,
    fitting_arrays,
    named_variables,
)
from wrn3d.network.wide_resnet import check_precision
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, UsageError, reason
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.config import CLASSES, NETWORK_FIELDS, RESIZING, SPACING, VOXELS, WINDOW

VOXEL_TYPES = [np.dtype(one).name for one in TYPES]


def keras_model(
    spec: WideResNetSpec | None = None,
    seed: int = 0,
    precision: str = "float32",
    weights: str | Path | None = None,
) -> Model:
    """Return a keras.Model: volumes (N, D, H, W, C) -> logits (N, num_classes).

        model = wrn3d.keras_model(wrn3d.WideResNetSpec(depth=28, widen_factor=4))
        model = wrn3d.keras_model(weights="cifar10")

    `weights` is the file of a run, or the name of a trained network of this package. It takes
    volumes normalised as in its training: `Classifier(weights).normalise` of `wrn3d.predict`.
    Without a `spec` the network is the file's. `precision` is "float32" or "bfloat16", as in
    `wide_resnet`.
    The same (spec, seed) gives the same fresh weights as `tensorlayer_model`.

    Raises UsageError for other arguments, MissingDataError if there is no such file, and DataError
    if it is no checkpoint, has another network, or does not record its network.
    """
    return _model(models.keras_model, spec, seed, precision, weights)


def tensorlayer_model(
    spec: WideResNetSpec | None = None,
    seed: int = 0,
    precision: str = "float32",
    weights: str | Path | None = None,
) -> Model:
    """Return a static tl.models.Model; arguments and errors are those of `keras_model`."""
    return _model(models.tensorlayer_model, spec, seed, precision, weights)


def _model(
    build: Callable[[WideResNetSpec, int, str], Model],
    spec: WideResNetSpec | None,
    seed: int,
    precision: str,
    weights: str | Path | None,
) -> Model:
    require(
        spec is not None or weights is not None,
        "a model needs a spec, such as wrn3d.WideResNetSpec(depth=28, widen_factor=4), or weights",
    )
    if weights is None:
        return build(spec, seed, precision)  # type: ignore[arg-type]
    checkpoint = Checkpoint.load(weights)
    spec = spec or TrainedNetwork.of(checkpoint, weights).spec
    model = build(spec, seed, precision)
    assign_weights(model, checkpoint, weights)
    return model


def assign_weights(model: Model, checkpoint: Checkpoint, path: str | Path) -> dict[str, np.ndarray]:
    """Assign a checkpoint's weights, or their EMA, to a model; return them by canonical name.

    Raises DataError, which names the file at `path`, if they are those of another network.
    """
    variables, what = named_variables(model), f"{path}: weights for {model.spec.name}"
    arrays = fitting_arrays(variables, checkpoint.evaluated, what)
    assign(variables, arrays)
    return arrays


class TrainedNetwork(NamedTuple):
    """What classifying needs of a checkpoint besides its weights.

    `class_names` are in the order of the logits. `precision` is what the run computed in.
    `resizing`, `spacing` and `window` are the Dataset's, `kind` is the type of its voxels. `mean`
    (1, D, H, W, C) and `std` (1,) float32 normalise volumes.
    """

    spec: WideResNetSpec
    class_names: list[str]
    precision: str
    mean: np.ndarray
    std: np.ndarray
    kind: np.dtype
    resizing: tuple[Resizing, ...]
    spacing: tuple[float, ...] | None
    window: Window | None

    @property
    def grid(self) -> Grid | None:
        """The network's voxels in mm, for scans; None if its training data had no spacing."""
        return Grid(self.spec.input_shape[:3], self.spacing) if self.spacing else None

    @classmethod
    def of(cls, checkpoint: Checkpoint, path: str | Path) -> "TrainedNetwork":
        """Return a checkpoint's network; `path` is its file.

        Raises DataError if the checkpoint does not record its network, or for invalid contents.
        Nothing is built before this check: a damaged file could ask for a network of any size.
        """
        try:
            return _read(checkpoint)
        except KeyError as error:
            raise DataError(
                f"{path} does not record its {error.args[0]}, as converted weights and files of "
                "earlier versions do not: env.load it on its data set, then env.save it"
            ) from error
        except (UsageError, DataError, TypeError) as error:
            raise DataError(f"{path} cannot be used to classify ({reason(error)})") from error


def _read(checkpoint: Checkpoint) -> TrainedNetwork:
    """Return a checkpoint's network; raise KeyError for a setting that it lacks but needs.

    Raises UsageError, DataError or TypeError for invalid contents.
    """
    mean, std = (checkpoint.normalisation[name] for name in ("mean", "std"))
    settings = {name: checkpoint.config[name] for name in (*NETWORK_FIELDS, "precision")}
    precision = settings.pop("precision")
    check_precision(precision)
    names, weights = list(checkpoint.config[CLASSES]), checkpoint.evaluated
    require(
        len(set(names)) == len(names) and all(isinstance(name, str) for name in names),
        "its class names are invalid",
    )
    require(
        mean.ndim == 5 and len(mean) == 1 and mean.shape[-1] in MODES, "its mean image is invalid"
    )
    require(std.shape == (1,) and std > 0, "its standard deviation is invalid")
    require(
        all(np.isfinite(array).all() for array in (mean, std, *weights.values())),
        "it has NaN or infinite numbers",
    )
    spec = WideResNetSpec(**settings, num_classes=len(names), input_shape=mean.shape[1:])
    check_names_and_shapes(
        {parameter.name: parameter for parameter in network_parameters(spec)},
        weights,
        f"weights for {spec.name}",
    )
    others = {RESIZING: (), VOXELS: "uint8", SPACING: None, WINDOW: None} | checkpoint.config
    require(others[VOXELS] in VOXEL_TYPES, "the type of its voxels is unknown")
    return TrainedNetwork(
        spec,
        names,
        precision,
        mean,
        std,
        kind=np.dtype(others[VOXELS]),
        resizing=check_steps(others[RESIZING], mean.shape[1:4]),
        spacing=check_spacing(others[SPACING]),
        window=None if others[WINDOW] is None else parsed(others[WINDOW]),
    )
