"""The network as a model of either framework, with its initial weights."""

import logging

from wrn3d.network.parameters import initial_weights, part_of
from wrn3d.network.spec import WideResNetSpec, check_spec
from wrn3d.network.variables import (
    Model,
    assign,
    freeze,
    model_layers,
    named_variables,
    set_dropout,
    values,
)
from wrn3d.network.wide_resnet import wide_resnet
from wrn3d.system.checks import check_count
from wrn3d.system.keras_settings import in_float32
from wrn3d.system.tensorflow_setup import be_deterministic, quick_imports


def keras_model(spec: WideResNetSpec, seed: int = 0, precision: str = "float32") -> Model:
    """Return a keras.Model: volumes (N, D, H, W, C) -> logits (N, num_classes).

    The same (spec, seed) gives the same weights as `tensorlayer_model`. `precision` is "float32"
    or "bfloat16", as in `wide_resnet`. Raises UsageError for other arguments.
    """
    _prepare(spec, seed)
    import keras

    from wrn3d.network import layers_keras
    from wrn3d.network.network_keras import Network

    with in_float32():
        volumes = keras.Input(spec.input_shape, name="volumes")
        # Keras can save a layer's arguments only if they are Python numbers, not NumPy's.
        logits = wide_resnet(layers_keras, volumes, spec, int(seed), precision)
        model = Network(volumes, logits, name=spec.name)
    model.spec, model.precision = spec, precision
    initialize(model, spec, seed)
    return model


def tensorlayer_model(spec: WideResNetSpec, seed: int = 0, precision: str = "float32") -> Model:
    """Return a static tl.models.Model: volumes (N, D, H, W, C) -> logits (N, num_classes).

    The same (spec, seed) gives the same weights as `keras_model`. `precision` is "float32" or
    "bfloat16", as in `wide_resnet`. Raises UsageError for other arguments.
    """
    _prepare(spec, seed)
    with quick_imports():
        import tensorlayer as tl

        from wrn3d.network import layers_tl
        from wrn3d.network.network_tl import Network

    # In notebooks TensorLayer prints a line for each input layer.
    tl.logging.get_verbosity()  # sets the logger up
    logger = logging.getLogger("tensorlayer")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        volumes = layers_tl.Input([None, *spec.input_shape], name="volumes").outputs
    finally:
        logger.setLevel(level)
    logits = wide_resnet(layers_tl, volumes, spec, seed, precision)
    model = Network(volumes, logits)
    model.spec, model.precision = spec, precision
    # TensorLayer has just run the layers in training mode on placeholders. That moved the running
    # averages and the dropout positions, so this must come last.
    initialize(model, spec, seed)
    return model


def as_keras_model(
    model: Model, spec: WideResNetSpec, seed: int = 0, precision: str = "float32"
) -> Model:
    """Return `model` if it is a keras.Model, else a keras.Model with copies of its weights."""
    import keras

    if not isinstance(model, keras.Model):
        copy = keras_model(spec, seed, precision)
        assign(named_variables(copy), values(named_variables(model)))
        freeze(copy, {part_of(layer.name) for layer in model_layers(model) if not layer.trainable})
        return copy
    return model


def initialize(model: Model, spec: WideResNetSpec, seed: int) -> None:
    """Set a model of either framework to its initial weights and its dropout to iteration 0."""
    assign(named_variables(model), initial_weights(spec, seed))
    set_dropout(model, spec.dropout, seed, 0)


def _prepare(spec: WideResNetSpec, seed: int) -> None:
    check_spec(spec)
    check_count("seed", seed, least=0)
    be_deterministic(seed)
