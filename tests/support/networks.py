"""Compute with both front ends' models on one sample, and compare the arrays."""

import numpy as np
import tensorflow as tf

import wrn3d
from wrn3d.network import ops
from wrn3d.network.variables import assign, named_variables

BUILDERS = {"tensorlayer": wrn3d.tensorlayer_model, "keras": wrn3d.keras_model}
FLAGS = {"tensorlayer": "is_train", "keras": "training"}


def sample(spec, count=6):
    """Return (weights, volumes, labels); no weight or running average has its initial value."""
    rng = np.random.default_rng(1)
    weights = {
        name: array + rng.uniform(0.05, 0.3, array.shape).astype(np.float32) * (array.ndim == 1)
        for name, array in wrn3d.initial_weights(spec, 2).items()
    }
    volumes = rng.standard_normal((count, *spec.input_shape)).astype(np.float32)
    return weights, volumes, rng.integers(0, spec.num_classes, count)


def model_outputs(front_end, spec, weights, volumes, labels, precision="float32"):
    """Return {name: float32 array} of one evaluation and one training step.

    "evaluation" has the logits of the evaluation. "logits" and "loss" are those of the training
    step. Each gradient and each new running average has its canonical name.
    """
    model = BUILDERS[front_end](spec, precision=precision)
    variables, flag = named_variables(model), FLAGS[front_end]
    assign(variables, weights)
    # The tape knows TensorFlow's variables, not Keras's wrappers.
    trained = {
        name: variable.value if front_end == "keras" else variable
        for name, variable in variables.items()
        if "running" not in name
    }
    evaluation = model(volumes, **{flag: False})
    with tf.GradientTape() as tape:
        logits = model(volumes, **{flag: True})
        loss = ops.cross_entropy(labels, logits)
    tensors = {"evaluation": evaluation, "logits": logits, "loss": loss}
    tensors |= tape.gradient(loss, trained)
    arrays = {name: np.array(tensor) for name, tensor in tensors.items()}
    arrays |= {name: variables[name].numpy() for name in variables if "running" in name}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    return arrays


def assert_close(actual, expected, name):
    """Check equality up to float32 rounding, relative to the array's largest element."""
    tolerance = 2e-5 if name in ("evaluation", "logits", "loss") or "running" in name else 2e-4
    error = np.abs(np.asarray(actual, np.float64) - expected).max()
    assert error <= tolerance * max(1e-3, np.abs(expected).max()), (name, error)


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert np.array_equal(left[name], right[name]), name
