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
from tests.support.pytorch_optimizers import updated_by_pytorch
from wrn3d.training.optimizer import orthogonalized
from wrn3d.verify.updates import orthogonalized as orthogonalized_exactly

RATES = (0.1, 0.1, 0.02, 0.0, 0.3, 0.1)
ADAM = wrn3d.TrainingConfig(optimizer="adam", learning_rate=0.1)
variable_types = pytest.mark.parametrize("variable_type", [tf.Variable, keras.Variable])


def updated(optimizer, start, gradients, rates=RATES, variable_type=tf.Variable, graph=False):
    """Return the weight after an update with each gradient, in one graph or eagerly."""
    variable = variable_type(np.asarray(start, np.float32))

    def update(gradient):
        optimizer.apply_gradients([(gradient, variable)])

    update = tf.function(update) if graph else update
    for gradient, rate in zip(gradients, rates, strict=False):
        optimizer.learning_rate = rate
        update(tf.constant(gradient, tf.float32))
    return variable.numpy()


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-2])
@variable_types
def test_sgd_is_pytorchs(momentum, nesterov, weight_decay, variable_type):
    start, *gradients = np.random.default_rng(0).standard_normal((7, 3, 2))
    optimizer = wrn3d.SGD(0.1, momentum, nesterov, weight_decay)
    pytorchs = partial(
        torch.optim.SGD, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )
    actual = updated(optimizer, start, gradients, variable_type=variable_type, graph=True)
    expected = updated_by_pytorch(pytorchs, start, gradients, RATES)
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=1e-6)


@variable_types
def test_adam_is_pytorchs(variable_type):
    start, *gradients = np.random.default_rng(0).standard_normal((7, 3, 2))
    optimizer = wrn3d.make_optimizer(ADAM, wrn3d.WideResNetSpec())
    actual = updated(optimizer, start, gradients, variable_type=variable_type)
    expected = updated_by_pytorch(torch.optim.Adam, start, gradients, RATES)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_muon_is_pytorchs(monkeypatch):
    """Compare with PyTorch's, which takes only matrices and iterates five times in bfloat16."""
    monkeypatch.setattr("wrn3d.training.optimizer.ORTHOGONALIZING_STEPS", 5)
    start, *gradients = np.random.default_rng(0).standard_normal((4, 3, 3, 3, 2, 5))
    actual = updated(wrn3d.Muon(0.1, 0.9, True, 0.2), start, gradients)
    pytorchs = partial(torch.optim.Muon, weight_decay=0.2, momentum=0.9, nesterov=True)
    matrix, *matrices = (array.reshape(54, 5).T for array in (start, *gradients))
    expected = updated_by_pytorch(pytorchs, matrix, matrices, RATES)
    np.testing.assert_allclose(actual.reshape(54, 5), expected.T, rtol=0, atol=5e-3)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 99),
    sides=st.tuples(*[st.integers(1, 4)] * 3),
    nesterov=st.booleans(),
    inputs=st.integers(1, 9),
    filters=st.integers(1, 40),
)
def test_muon_moves_kernels_along_orthogonal_matrices(seed, sides, nesterov, inputs, filters):
    shape, rates = (*sides, inputs, filters), [0.1, 0.0, 0.2]
    start, *gradients = np.random.default_rng(seed).standard_normal((4, *shape))
    actual = updated(wrn3d.Muon(0.1, 0.8, nesterov, 0.5), start, gradients, rates)
    expected, velocity, rows = start, 0, prod(shape[:-1])
    for gradient, rate in zip(gradients, rates, strict=True):
        velocity = 0.8 * velocity + gradient
        change = gradient + 0.8 * velocity if nesterov else velocity
        step = orthogonalized_exactly(change.reshape(rows, filters)).reshape(shape)
        expected = (1 - rate * 0.5) * expected - rate * max(1, filters / rows) ** 0.5 * step
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@variable_types
def test_muon_for_a_single_depth_updates_the_centre_slices_alike(variable_type):
    start, *gradients = np.random.default_rng(0).standard_normal((4, 3, 3, 3, 2, 5))
    centre_only = np.reshape([0, 1, 0], (3, 1, 1, 1, 1))  # as from volumes of depth 1
    gradients = [gradient * centre_only for gradient in gradients]
    whole, centre = (
        updated(
            wrn3d.Muon(0.1, 0.9, single_depth=single),
            start,
            gradients,
            variable_type=variable_type,
        )
        for single in (False, True)
    )
    np.testing.assert_allclose(centre[1], whole[1], rtol=0, atol=1e-6)
    assert np.abs(centre[1] - start[1]).min() > 0
    assert np.array_equal(centre[[0, 2]], start[[0, 2]].astype(np.float32))


@pytest.mark.parametrize("rows, columns", [(27, 16), (16, 64), (576, 64)])
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("bfloat16", 0.06)])
def test_muons_products_have_the_chosen_precision(rows, columns, precision, tolerance):
    matrix = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    function = tf.function(partial(orthogonalized, matrix, 0.1, precision), autograph=False)
    graph = function.get_concrete_function()
    products = [op for op in graph.graph.get_operations() if op.type == "MatMul"]
    assert {op.outputs[0].dtype.name for op in products} == {precision}
    expected = 0.1 * orthogonalized_exactly(matrix)
    difference = np.linalg.norm(graph().numpy() - expected)
    assert 0 < difference < tolerance * np.linalg.norm(expected)


def test_muon_updates_what_is_not_a_kernel_as_sgd_does():
    start, *gradients = np.random.default_rng(0).standard_normal((4, 3, 2)).astype(np.float32)
    muon = updated(wrn3d.Muon(0.1, 0.9, True, 0.5), start, gradients, [0.25] * 3)
    sgd = updated(wrn3d.SGD(0.1, 0.9, True), start, gradients, [1.0] * 3)
    assert np.array_equal(muon, sgd) and not np.array_equal(muon, start)


def test_a_learning_rate_of_zero_moves_nothing():
    start, *gradients = np.random.default_rng(0).standard_normal((4, 3, 2))
    one, two = (
        updated(wrn3d.SGD(0.1, 0.9, nesterov=True), start, gradients[:count], [0.1, 0.0, 0.0])
        for count in (1, 3)
    )
    assert np.array_equal(one, two) and not np.array_equal(one, start.astype(np.float32))


@pytest.mark.parametrize(
    "optimizer",
    [
        wrn3d.SGD(1, 0.9, True, 5e-4),
        wrn3d.Adam(0.1, 1e-6),
        wrn3d.Muon(1, 0.9, True, 5e-4, single_depth=True, precision="bfloat16"),
    ],
    ids=["sgd", "adam", "muon"],
)
def test_settings_survive_serialization(optimizer):
    config = optimizer.get_config()
    assert type(optimizer).from_config(config).get_config() == config
