"""A network as a model of either framework, and its variables under the canonical names."""

import numpy as np

from wrn3d.network.parameters import initial_weights
from wrn3d.network.variables import assign, named_variables, set_dropout, values
from wrn3d.network.wide_resnet import wide_resnet
from wrn3d.system.tensorflow_setup import be_deterministic


def keras_model(spec, seed=0, precision="float32"):
    """A keras.Model: volumes (N, D, H, W, C) -> logits (N, num_classes).

    The same (spec, seed) gives the same weights as `tensorlayer_model`. `precision` is
    "float32" or "bfloat16", of which `wide_resnet` says what it concerns.
    """
    be_deterministic(seed)
    import keras

    from wrn3d.network import layers_keras

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

    from wrn3d.network import layers_tl

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
