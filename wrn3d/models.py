"""A network as a model of either framework, and its variables under the canonical names."""
from collections.abc import Mapping

import numpy as np

from wrn3d.errors import DataError, printable
from wrn3d.network import wide_resnet
from wrn3d.parameters import initial_weights, network_parameters
from wrn3d.randomness import dropout_position, dropout_shares
from wrn3d.runtime import be_deterministic


def keras_model(spec, seed=0, precision="float32"):
    """A keras.Model: volumes (N, D, H, W, C) -> logits (N, num_classes).

    The same (spec, seed) gives the same weights as `tensorlayer_model`. `precision` is
    "float32" or "bfloat16", of which `wide_resnet` says what it concerns.
    """
    be_deterministic(seed)
    import keras

    from wrn3d import layers_keras

    volumes = keras.Input(spec.input_shape, name="volumes")
    logits = wide_resnet(layers_keras, volumes, spec, seed, precision)
    model = keras.Model(volumes, logits, name=spec.name)
    initialize(model, spec, seed)
    return model


def as_keras_model(model, spec, seed=0, precision="float32"):
    """The network of a model of either framework as a keras.Model: itself, or a copy."""
    import keras

    if not isinstance(model, keras.Model):
        arrays = values(named_variables(model))
        model = keras_model(spec, seed, precision)
        assign(named_variables(model), arrays, f"weights for {spec.name}")
    # Called once, or Keras would not export it to ONNX.
    model(np.zeros((1, *spec.input_shape), np.float32), training=False)
    return model


def tensorlayer_model(spec, seed=0, precision="float32"):
    """A static tl.models.Model: volumes (N, D, H, W, C) -> logits (N, num_classes).

    The same (spec, seed) gives the same weights as `keras_model`, `precision` is as there.
    """
    be_deterministic(seed)
    import tensorlayer as tl

    from wrn3d import layers_tl

    volumes = layers_tl.Input([None, *spec.input_shape], name="volumes").outputs
    model = tl.models.Model(volumes, wide_resnet(layers_tl, volumes, spec, seed, precision))
    # TensorLayer has just run the layers on a placeholder in training mode, which moved batch
    # norm's averages and the dropout layers' counters: this sets them back, too.
    initialize(model, spec, seed)
    return model


def initialize(model, spec, seed):
    """Set a model of either framework to its initial weights and to iteration 0."""
    assign(named_variables(model), initial_weights(spec, seed), f"weights for {spec.name}")
    set_dropout(model, spec.dropout, seed, 0)


def named_variables(model):
    """{canonical name: variable}, in the network's order; a variable has `assign`, `numpy`."""
    return {f"{layer.name}{end}": variable for layer in _layers(model)
            for end, variable in getattr(layer, "parameters", {}).items()}


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
    return {slot: dict(zip(names, variables, strict=True))
            for slot, variables in optimizer.slots.items()}


def trained_names(model):
    """The canonical names of the model's `trainable_weights`, in their order."""
    names = {id(variable): name for name, variable in named_variables(model).items()}
    return [names[id(weight)] for weight in model.trainable_weights]


def network_order(model, spec) -> tuple[int, ...]:
    """The places in `trained_names`, which TensorLayer sorts by depth, of the network's weights in
    their order."""
    names = trained_names(model)
    return tuple(names.index(parameter.name) for parameter in network_parameters(spec)
                 if parameter.trainable)


def values(variables):
    """{name: array}, copies."""
    return {name: variable.numpy() for name, variable in variables.items()}


def assign(variables, arrays, what):
    """Assign arrays to variables by name, all or none; raises DataError as `check_same`."""
    check_same(variables, arrays, what)
    try:
        arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} are not all arrays of numbers ({error})") from error
    for name, variable in variables.items():
        variable.assign(arrays[name])


def check_same(variables, arrays, what):
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
            raise DataError(f"{what} are of another network: {name} is {shapes[0]} instead of "
                            f"{shapes[1]}")


def _layers(model):
    return getattr(model, "all_layers", None) or model.layers
