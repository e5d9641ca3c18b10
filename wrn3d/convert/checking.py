"""Check that a converted network gives the logits that PyTorch computed."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from wrn3d.convert.pytorch_weights import Converted
from wrn3d.data.npy import read_npy
from wrn3d.network.models import keras_model
from wrn3d.network.spec import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from wrn3d.network.variables import assign, named_variables
from wrn3d.system.errors import DataError, reason
from wrn3d.system.files import require_file
from wrn3d.system.memory import enough_for
from wrn3d.system.tensorflow_setup import import_tensorflow
from wrn3d.training.evaluation import batches

ASSUMED = (
    f"ReLU; batch norm's epsilon {BATCH_NORM_EPSILON:g} (momentum {BATCH_NORM_MOMENTUM:g} in "
    "training); shortcuts that project the activated input; inputs normalised as in its training. "
    "Weights cannot tell: --check compares logits"
)
TOLERANCE = 1e-4  # a share of the largest logit; the same function differs by 2e-5 at most


def check_logits(converted: Converted, inputs_path: Path, logits_path: Path) -> str:
    """Return a sentence that says how closely the converted network gives the logits.

    The inputs are PyTorch's, floats (N, C, H, W) or, for 3D kernels, (N, C, D, H, W), as the
    network takes them. The logits are (N, num_classes). Raises MissingDataError or DataError if a
    file is missing or does not fit, and DataError if the logits differ by more than TOLERANCE.
    """
    spec = converted.spec
    inputs = _read_floats(inputs_path)
    if inputs.ndim not in (4, 5) or not inputs.size or inputs.shape[1] != spec.input_shape[-1]:
        raise DataError(
            f"{inputs_path} is {inputs.shape}, but must be PyTorch's (N, {spec.input_shape[-1]}, "
            "height, width), or with a depth before the height"
        )
    expected = _read_floats(logits_path)
    if expected.shape != (len(inputs), spec.num_classes):
        raise DataError(
            f"{logits_path} is {expected.shape}, but must be {(len(inputs), spec.num_classes)}, "
            f"the logits of the {len(inputs)} inputs of {inputs_path}"
        )
    volumes = np.moveaxis(inputs if inputs.ndim == 5 else inputs[:, :, None], 1, -1)
    if converted.normaliser:
        mean, std = converted.normaliser
        volumes = ((volumes - mean) / std).astype(np.float32)
    spec = replace(spec, input_shape=volumes.shape[1:])
    difference = float(np.abs(_logits(spec, converted, volumes) - expected).max())
    largest = float(np.abs(expected).max())
    if difference <= TOLERANCE * largest:
        return (
            f"the logits of {len(inputs)} inputs differ by at most {difference:.2g}; the largest "
            f"is {largest:.4g}"
        )
    raise DataError(
        f"{logits_path} has other logits than the converted network: they differ by up to "
        f"{difference:.3g}, but may differ by {TOLERANCE * largest:.2g}, {TOLERANCE:g} of the "
        "largest; the network may have another activation, epsilon or shortcut, or the logits may "
        "not come from these inputs with model.eval() and in float32, without TF32"
    )


def _read_floats(path: Path) -> np.ndarray:
    require_file(path, "name a NumPy file (.npy)")
    try:
        with path.open("rb") as file:
            array = read_npy(file, path.name, path.stat().st_size)
    except Exception as error:  # NumPy raises nearly anything for a damaged file
        raise DataError(f"{path} cannot be read as a NumPy file ({reason(error)})") from error
    if array.dtype.kind != "f":
        raise DataError(f"{path} is {array.dtype}, but must have floats, as in PyTorch's network")
    if not np.isfinite(array).all():
        raise DataError(f"{path} has NaN or infinite numbers, which cannot be compared")
    return array.astype(np.float32)


def _logits(spec, converted, volumes):
    import_tensorflow()
    model = keras_model(spec)
    assign(named_variables(model), converted.weights)
    found = []
    for rows in batches(volumes):
        with enough_for(len(volumes[rows]), "evaluation"):
            found.append(model.predict_on_batch(volumes[rows]))
    return np.concatenate(found)
