"""A model's variables under their canonical names: naming, reading, assigning."""

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import numpy as np

from wrn3d.data.arrays import as_array
from wrn3d.data.voxels import is_float
from wrn3d.network.parameters import network_parameters, part_of
from wrn3d.network.spec import WideResNetSpec
from wrn3d.system.errors import DataError, UsageError, printable
from wrn3d.system.randomness import dropout_position, dropout_shares

# Aliases rather than the classes: importing a framework takes seconds.
Model: TypeAlias = Any  # tl.models.Model or keras.Model
Variable: TypeAlias = Any  # TensorFlow's or Keras's variable: both have assign, numpy and shape
# {a layer's attribute: the suffix that follows the layer's name in the canonical name}
ATTRIBUTES = {
    "kernel": "",
    "weight": ".weight",
    "bias": ".bias",
    "running_mean": ".running_mean",
    "running_var": ".running_var",
}


def named_variables(model: Model) -> dict[str, Variable]:
    """Return {canonical name: variable} in the network's order."""
    return {
        f"{layer.name}{end}": getattr(layer, attribute)
        for layer in model_layers(model)
        for attribute, end in ATTRIBUTES.items()
        if hasattr(layer, attribute)
    }


def set_dropout(model: Model, rate: float, seed: int, iteration: int) -> None:
    """Set the rate of all dropout layers, and the seed and iteration of their next masks."""
    for layer in model_layers(model):
        if hasattr(layer, "shares"):
            # Arrays, because TensorFlow keeps a tensor for each new Python number.
            layer.shares.assign(dropout_shares(rate))
            layer.position.assign(dropout_position(seed, layer.name, iteration))


def freeze(model: Model, parts: Collection[str]) -> None:
    """Keep the weights of some parts of a new model, such as "conv0", out of the training.

    Their batch norm then uses its running averages, as a frozen layer of Keras does.
    """
    for layer in model_layers(model):
        if part_of(layer.name) in parts:
            layer.trainable = False


def named_slots(model: Model, optimizer: Any) -> dict[str, dict[str, Variable]]:
    """Return {slot: {canonical name: variable}} of the optimizer's state, such as momentum."""
    names = trained_names(model)
    return {
        slot: dict(zip(names, variables, strict=True))
        for slot, variables in optimizer.slots.items()
    }


def trained_names(model: Model) -> list[str]:
    """Return the canonical names of the model's `trainable_weights`, in their order."""
    names = {id(variable): name for name, variable in named_variables(model).items()}
    return [names[id(weight)] for weight in model.trainable_weights]


def network_order(model: Model, spec: WideResNetSpec) -> tuple[int, ...]:
    """Return the indices that sort the model's `trainable_weights` into the network's order.

    Keras keeps them in this order already; TensorLayer does not.
    """
    names = trained_names(model)
    ordered = (parameter.name for parameter in network_parameters(spec))
    return tuple(names.index(name) for name in ordered if name in names)


def values(variables: Mapping[str, Variable]) -> dict[str, np.ndarray]:
    """Return {name: array} with copies of the variables' values."""
    return {name: variable.numpy() for name, variable in variables.items()}


def assign(variables: Mapping[str, Variable], arrays: Mapping[str, np.ndarray]) -> None:
    """Assign {name: array} to the variables of the same names and shapes."""
    for name, variable in variables.items():
        variable.assign(arrays[name])


def fitting_arrays(variables: Mapping[str, Any], arrays: Any, what: str) -> dict[str, np.ndarray]:
    """Return `arrays`, {name: array of any numbers}, in float32.

    Raises DataError unless they have the names and shapes of `variables`, and hold real numbers.
    `what` names the arrays in the error message, such as "weights for WRN-10-1".
    """
    check_names_and_shapes(variables, arrays, what)
    return {name: as_array(name, arrays[name]).astype(np.float32, copy=False) for name in variables}


def check_names_and_shapes(variables: Mapping[str, Any], arrays: Any, what: str) -> None:
    """Raise DataError with the first difference in names or shapes, or for other than numbers.

    `variables` are variables or Parameters; `arrays` may be any object.
    """
    if not isinstance(arrays, Mapping):
        raise DataError(f"{what} must be a dictionary of arrays, not {type(arrays).__name__}")
    other = f"{what} belong to another network"
    for name in [*variables, *arrays]:
        if name not in arrays:
            raise DataError(f"{other}: {printable(name)} is missing")
        if name not in variables:
            raise DataError(f"{other}: {printable(str(name))} is unexpected")
        try:
            array = as_array(name, arrays[name])
        except UsageError as error:
            raise DataError(f"{what} are not all arrays of numbers: {error}") from error
        expected = tuple(variables[name].shape)
        if array.shape != expected:
            raise DataError(f"{other}: {name} is {array.shape} instead of {expected}")
        if not (is_float(array) or array.dtype.kind in "iu"):
            raise DataError(f"{what} are not all arrays of numbers: {name} is {array.dtype}")


def model_layers(model: Model) -> Any:
    """Return the layers of a model of either framework, in the network's order."""
    return getattr(model, "all_layers", None) or model.layers
