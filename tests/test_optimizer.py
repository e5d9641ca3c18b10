"""The update rule against PyTorch's documented one, in NumPy."""
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

import wrn3d


def pytorch_sgd(weight, gradients, rates, momentum, nesterov, weight_decay):
    """torch.optim.SGD's algorithm box, in float64."""
    velocity = None
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient = gradient + weight_decay * weight
        if momentum:
            velocity = gradient if velocity is None else momentum * velocity + gradient
            gradient = gradient + momentum * velocity if nesterov else velocity
        weight = weight - rate * gradient
    return weight


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-2])
@pytest.mark.parametrize("variable_type", [tf.Variable, keras.Variable])
def test_updates_are_pytorchs(momentum, nesterov, weight_decay, variable_type):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal((3, 2)), rng.standard_normal((6, 3, 2))
    rates = [0.1, 0.1, 0.02, 0.0, 0.3, 0.1]
    variable = variable_type(start.astype(np.float32))
    optimizer = wrn3d.SGD(0.1, momentum, nesterov, weight_decay)

    @tf.function
    def update(gradient):
        optimizer.apply_gradients([(gradient, variable)])

    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = rate
        update(tf.constant(gradient, tf.float32))
    expected = pytorch_sgd(start, gradients, rates, momentum, nesterov, weight_decay)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("variable_type", [tf.Variable, keras.Variable])
def test_adam_is_pytorchs(variable_type):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal((3, 2)), rng.standard_normal((6, 3, 2))
    rates = [0.1, 0.1, 0.02, 0.0, 0.3, 0.1]
    variable, optimizer = variable_type(start.astype(np.float32)), wrn3d.make_optimizer(
        wrn3d.TrainingConfig(optimizer="adam"))
    tensor = torch.tensor(start, requires_grad=True)
    theirs = torch.optim.Adam([tensor])
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = theirs.param_groups[0]["lr"] = rate
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        tensor.grad = torch.tensor(gradient)
        theirs.step()
    np.testing.assert_allclose(variable.numpy(), tensor.detach().numpy(), rtol=0, atol=1e-5)


def test_a_learning_rate_of_zero_moves_nothing():
    variable = tf.Variable([1.0, 2.0])
    optimizer = wrn3d.SGD(0.1, momentum=0.9, nesterov=True)
    optimizer.apply_gradients([(tf.constant([1.0, 1.0]), variable)])
    before = variable.numpy()
    optimizer.learning_rate = 0.0
    optimizer.apply_gradients([(tf.constant([1.0, 1.0]), variable)])
    assert np.array_equal(variable.numpy(), before)


def test_settings_survive_serialization():
    settings = wrn3d.SGD(1, 0.9, True, 5e-4).get_config()
    assert wrn3d.SGD.from_config(settings).get_config() == settings
