"""The optimizers against PyTorch's, and against NumPy written from their formulas."""

from functools import partial
from math import prod

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wrn3d
from wrn3d.training.optimizer import orthogonalized


def pytorch_sgd(weight, gradients, rates, momentum, nesterov, weight_decay):
    """Return the weight after updates by the algorithm in torch.optim.SGD's page, in float64."""
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
    variable = variable_type(start.astype(np.float32))
    config = wrn3d.TrainingConfig(optimizer="adam")
    optimizer = wrn3d.make_optimizer(config, wrn3d.WideResNetSpec())
    tensor = torch.tensor(start, requires_grad=True)
    pytorchs = torch.optim.Adam([tensor])
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = pytorchs.param_groups[0]["lr"] = rate
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        tensor.grad = torch.tensor(gradient)
        pytorchs.step()
    np.testing.assert_allclose(variable.numpy(), tensor.detach().numpy(), rtol=0, atol=1e-5)


def jordans(matrix):
    """Return the matrix after Jordan's iteration, written for its singular values, in float64."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(3):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left * values @ right


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 99),
    sides=st.tuples(*[st.integers(1, 4)] * 3),
    nesterov=st.booleans(),
    inputs=st.integers(1, 9),
    filters=st.integers(1, 40),
)
def test_muon_moves_kernels_along_orthogonal_matrices(seed, sides, nesterov, inputs, filters):
    rng = np.random.default_rng(seed)
    shape = (*sides, inputs, filters)
    start, *gradients = rng.standard_normal((4, *shape))
    variable = tf.Variable(start.astype(np.float32))
    optimizer = wrn3d.Muon(0.1, 0.8, nesterov, weight_decay=0.5)
    expected, velocity, rows = start, 0, prod(shape[:-1])
    for gradient, rate in zip(gradients, [0.1, 0.0, 0.2], strict=True):
        optimizer.learning_rate = rate
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        velocity = 0.8 * velocity + gradient
        change = gradient + 0.8 * velocity if nesterov else velocity
        step = jordans(change.reshape(rows, filters)).reshape(shape)
        expected = (1 - rate * 0.5) * expected - rate * max(1, filters / rows) ** 0.5 * step
    np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("variable_type", [tf.Variable, keras.Variable])
def test_muon_for_a_single_depth_updates_the_centre_slices_alike(variable_type):
    rng = np.random.default_rng(0)
    start, *gradients = rng.standard_normal((4, 3, 3, 3, 2, 5)).astype(np.float32)
    updated = []
    for single in (False, True):
        variable, optimizer = variable_type(start), wrn3d.Muon(0.1, 0.9, single_depth=single)
        for gradient in gradients:
            gradient = gradient * [[[[[0]]]], [[[[1]]]], [[[[0]]]]]  # as from volumes of depth 1
            optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        updated.append(variable.numpy())
    whole, centre = updated
    np.testing.assert_allclose(centre[1], whole[1], rtol=0, atol=1e-6)
    assert np.abs(centre[1] - start[1]).min() > 0
    assert np.array_equal(centre[[0, 2]], start[[0, 2]])


def test_muon_is_pytorchs(monkeypatch):
    """PyTorch's takes matrices (outputs, inputs) only, and iterates five times in bfloat16."""
    monkeypatch.setattr("wrn3d.training.optimizer.ORTHOGONALIZING_STEPS", 5)
    rng = np.random.default_rng(0)
    start, *gradients = rng.standard_normal((4, 54, 5))
    variable = tf.Variable(start.reshape(3, 3, 3, 2, 5).astype(np.float32))
    optimizer = wrn3d.Muon(0.1, 0.9, True, 0.2)
    tensor = torch.tensor(start.T, requires_grad=True, dtype=torch.float32)
    pytorchs = torch.optim.Muon([tensor], 0.1, 0.2, 0.9, nesterov=True)
    for gradient in gradients:
        optimizer.apply_gradients(
            [(tf.constant(gradient.reshape(3, 3, 3, 2, 5), tf.float32), variable)]
        )
        tensor.grad = torch.tensor(gradient.T, dtype=torch.float32)
        pytorchs.step()
    np.testing.assert_allclose(
        variable.numpy().reshape(54, 5), tensor.detach().numpy().T, rtol=0, atol=5e-3
    )


@pytest.mark.parametrize("rows, columns", [(27, 16), (16, 64), (576, 64)])
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("bfloat16", 0.06)])
def test_muons_products_have_the_chosen_precision(rows, columns, precision, tolerance):
    matrix = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    function = tf.function(partial(orthogonalized, matrix, 0.1, precision), autograph=False)
    graph = function.get_concrete_function()
    products = [op for op in graph.graph.get_operations() if op.type == "MatMul"]
    assert {op.outputs[0].dtype.name for op in products} == {precision}
    expected = 0.1 * jordans(matrix)
    difference = np.linalg.norm(graph().numpy() - expected)
    assert 0 < difference < tolerance * np.linalg.norm(expected)


def test_muon_updates_what_is_not_a_kernel_as_sgd_does():
    start, gradient = np.ones((3, 2), np.float32), tf.constant([[1.0, 2], [3, 4], [5, 6]])
    muon, sgd = tf.Variable(start), tf.Variable(start)
    muon_optimizer, sgd_optimizer = wrn3d.Muon(0.1, 0.9, True, 0.5), wrn3d.SGD(0.4, 0.9, True)
    for _ in range(3):
        muon_optimizer.apply_gradients([(gradient, muon)])
        sgd_optimizer.apply_gradients([(gradient, sgd)])
    assert np.array_equal(muon.numpy(), sgd.numpy()) and not np.array_equal(muon.numpy(), start)


def test_a_learning_rate_of_zero_moves_nothing():
    variable = tf.Variable([1.0, 2.0])
    optimizer = wrn3d.SGD(0.1, momentum=0.9, nesterov=True)
    optimizer.apply_gradients([(tf.constant([1.0, 1.0]), variable)])
    before = variable.numpy()
    optimizer.learning_rate = 0.0
    optimizer.apply_gradients([(tf.constant([1.0, 1.0]), variable)])
    assert np.array_equal(variable.numpy(), before)


def test_settings_survive_serialization():
    for optimizer in (
        wrn3d.SGD(1, 0.9, True, 5e-4),
        wrn3d.Adam(0.1, 1e-6),
        wrn3d.Muon(1, 0.9, True, 5e-4, single_depth=True, precision="bfloat16"),
    ):
        config = optimizer.get_config()
        assert type(optimizer).from_config(config).get_config() == config
