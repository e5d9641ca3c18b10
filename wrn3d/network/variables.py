"""A model's variables under the canonical names: naming, reading, assigning."""

from collections.abc import Mapping

import numpy as np

from wrn3d.network.parameters import network_parameters
from wrn3d.system.errors import DataError, printable
from wrn3d.system.randomness import dropout_position, dropout_shares


def named_variables(model):
    """{canonical name: variable}, in the network's order; a variable has `assign`, `numpy`."""
    return {
        f"{layer.name}{end}": variable
        for layer in _layers(model)
        for end, variable in getattr(layer, "parameters", {}).items()
    }


def set_dropout(model, rate, seed, iteration):
    """Tell the dropout layers how much to drop, and what decides on their next masks."""
    # Arrays, since TensorFlow keeps a tensor for each Python number that it has met, for good.
    for layer in _layers(model):
        if hasattr(layer, "shares"):
            layer.shares.assign(dropout_shares(rate))
            layer.position.assign(dropout_position(seed, layer.name, iteration))


def named_slots(model, optimizer):
    """{slot: {canonical name: variable}} of what the optimizer remembers, such as momentum."""
    names = trained_names(model)
    return {
        slot: dict(zip(names, variables, strict=True))
        for slot, variables in optimizer.slots.items()
    }


def trained_names(model):
    """The canonical names of the model's `trainable_weights`, in their order."""
    names = {id(variable): name for name, variable in named_variables(model).items()}
    return [names[id(weight)] for weight in model.trainable_weights]


def network_order(model, spec) -> tuple[int, ...]:
    """The places in `trained_names`, which TensorLayer sorts by depth, of the network's weights in
    their order."""
    names = trained_names(model)
    return tuple(
        names.index(parameter.name) for parameter in network_parameters(spec) if parameter.trainable
    )


def values(variables):
    """{name: array}, copies."""
    return {name: variable.numpy() for name, variable in variables.items()}


def assign(variables, arrays, what):
    """Assign arrays to variables by name, all or none. Raise DataError like the check below."""
    check_names_and_shapes(variables, arrays, what)
    try:
        arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} are not all arrays of numbers ({error})") from error
    for name, variable in variables.items():
        variable.assign(arrays[name])


def check_names_and_shapes(variables, arrays, what):
    """Raise DataError, naming the first difference, unless names and shapes are the same."""
    if not isinstance(arrays, Mapping):
        raise DataError(f"{what} must be a dictionary of arrays, not {type(arrays).__name__}")
    for name in [*variables, *arrays]:
        if name not in arrays:
            raise DataError(f"{what} are of another network: {printable(name)} is missing")
        if name not in variables:
            raise DataError(f"{what} are of another network: {printable(name)} is too many")
        shapes = np.shape(arrays[name]), tuple(variables[name].shape)
        if shapes[0] != shapes[1]:
            raise DataError(
                f"{what} are of another network: {name} is {shapes[0]} instead of {shapes[1]}"
            )


def _layers(model):
    return getattr(model, "all_layers", None) or model.layers
