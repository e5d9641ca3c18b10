"""The shared numerics, apart from the convolution, against NumPy and PyTorch."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wrn3d.network import ops
from wrn3d.system.randomness import dropout_position, dropout_shares
from wrn3d.system.tensorflow_setup import be_deterministic


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sides=st.tuples(*[st.integers(1, 7)] * 3),
    channels=st.integers(1, 3),
    extra=st.integers(0, 5),
    stride=st.integers(1, 2),
)
def test_pad_shortcut_averages_cells_and_centres_channels(sides, channels, extra, stride):
    x = np.random.default_rng(0).standard_normal((2, *sides, channels)).astype(np.float32)
    y = ops.pad_shortcut(tf.constant(x), channels + extra, stride).numpy()
    before = extra - extra // 2
    assert y.shape == (2, *(-(-side // stride) for side in sides), channels + extra)
    for index in np.ndindex(y.shape[1:4]):
        cell = x[(slice(None), *(slice(i * stride, (i + 1) * stride) for i in index))]
        middle = y[(slice(None), *index, slice(before, before + channels))]
        np.testing.assert_allclose(middle, cell.mean(axis=(1, 2, 3)), atol=1e-6)
    assert not y[..., :before].any() and not y[..., before + channels :].any()


def test_dropout_is_a_function_of_seed_and_iteration():
    x = tf.ones([4, 1, 32, 32, 16])

    def mask(seed, iteration):
        return ops.dropout(x, dropout_shares(0.3), dropout_position(seed, "a", iteration)).numpy()

    first = mask(5, 0)
    assert np.array_equal(first, mask(5, 0))
    assert not np.array_equal(first, mask(5, 1))
    assert not np.array_equal(first, mask(6, 0))
    assert set(np.unique(first)) == {0, np.float32(1 / 0.7)}
    assert (first == 0).mean() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", [None, [0.5, 2.0, 1.0, 0.25]])
def test_cross_entropy_is_pytorchs(smoothing, class_weights):
    rng = np.random.default_rng(0)
    logits, labels = 9 * rng.standard_normal((9, 4)).astype(np.float32), rng.integers(0, 4, 9)
    losses = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing, reduction="none"
    )
    weights = np.ones(4) if class_weights is None else np.array(class_weights)
    loss = ops.cross_entropy(labels, logits, smoothing=smoothing, class_weights=class_weights)
    assert loss.numpy() == pytest.approx((losses.numpy() * weights[labels]).mean(), rel=1e-6)


def test_accuracy_is_the_share_of_right_predictions():
    logits = np.array([[0, 1], [2, 1], [0, 3]], np.float32)
    assert ops.accuracy(np.array([1, 1, 1]), logits).numpy() == np.float32(2 / 3)


def test_cross_entropy_has_the_bits_of_tensorflows_deterministic_op():
    """It differs only in its NaN for invalid labels."""
    be_deterministic(0)
    rng = np.random.default_rng(0)
    logits = tf.Variable(rng.normal(0, 5, (64, 10)).astype(np.float32))
    labels = rng.integers(0, 10, 64)

    @tf.function(autograph=False)
    def loss_and_gradient(loss):
        with tf.GradientTape() as tape:
            value = loss(labels, logits)
        return value, tape.gradient(value, logits)

    plain = tf.nn.sparse_softmax_cross_entropy_with_logits
    for own, others in zip(
        loss_and_gradient(ops.cross_entropy),
        loss_and_gradient(lambda *arrays: tf.reduce_mean(plain(*arrays))),
        strict=True,
    ):
        assert np.array_equal(own, others)


@pytest.mark.parametrize("side", [2, 3, 6, 7])
def test_a_gradients_bits_do_not_depend_on_whether_the_rows_are_known(side):
    """A graph that has seen batches of several lengths knows them no longer."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(8, 1, side, side, 16)).astype(np.float32)
    weight = draw.normal(size=(16, 10)).astype(np.float32)

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = ops.cross_entropy(tf.zeros(tf.shape(x)[:1]), ops.global_average_pool(x) @ weight)
        return tape.gradient(loss, x)

    known, unknown = (
        tf.function(gradient, autograph=False).get_concrete_function(tf.TensorSpec(shape))(x)
        for shape in (x.shape, (None, *x.shape[1:]))
    )
    assert np.array_equal(known, unknown)
    assert np.array_equal(known, gradient(tf.constant(x)))
