"""The shared numerics against TensorFlow's own ops and NumPy, over many shapes."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wrn3d.network import convolution, ops
from wrn3d.network.convolution import conv3d
from wrn3d.system.randomness import dropout_position, dropout_shares

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


def symmetric_conv3d(x, kernel, stride):
    """What PyTorch's padding=k // 2 computes, by TensorFlow's own Conv3D."""
    margin = kernel.shape[0] // 2
    padded = tf.pad(x, [(0, 0)] + [(margin, margin)] * 3 + [(0, 0)])
    return tf.nn.conv3d(padded, kernel, [1, stride, stride, stride, 1], "VALID")


@SETTINGS
@given(
    depth=st.sampled_from([1, 1, 1, 2, 3, 4]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
    size=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_conv3d_is_tensorflows_forward_and_backward(
    depth, height, width, channels, filters, size, stride, seed
):
    rng = np.random.default_rng(seed)
    x = tf.constant(rng.standard_normal((2, depth, height, width, channels)))  # float64
    kernel = tf.constant(rng.standard_normal((size, size, size, channels, filters)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, kernel])
        actual, expected = conv3d(x, kernel, stride), symmetric_conv3d(x, kernel, stride)
        upstream = tf.constant(rng.standard_normal(expected.shape))
        totals = tf.reduce_sum(actual * upstream), tf.reduce_sum(expected * upstream)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    for source in (x, kernel):
        gradients = [tape.gradient(total, source) for total in totals]
        np.testing.assert_allclose(*gradients, rtol=0, atol=1e-11)
    if depth == 1:
        outer = np.delete(tape.gradient(totals[0], kernel).numpy(), size // 2, axis=0)
        assert not outer.any()


@SETTINGS
@given(
    sides=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    channels=st.sampled_from([1, 3, 16, 32]),
    filters=st.sampled_from([16, 32]),
    size=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_bfloat16_conv3d_is_the_exact_one_rounded(sides, channels, filters, size, stride, seed):
    rng = np.random.default_rng(seed)
    x = tf.cast(rng.standard_normal((2, *sides, channels)), tf.bfloat16)
    kernel = tf.cast(rng.standard_normal((size, size, size, channels, filters)), tf.bfloat16)
    upstream = tf.cast(
        rng.standard_normal((2, *(-(-side // stride) for side in sides), filters)), tf.bfloat16
    )
    assert_exact_but_rounded(x, kernel, stride, upstream)


@pytest.mark.parametrize(
    "sides, stride",
    [
        ((2, 2, 1), 1),
        ((2, 2, 2), 1),
        ((2, 1, 5), 1),
        ((2, 4, 2), 1),
        ((3, 2, 2), 1),
        ((2, 2, 2), 2),
        ((3, 3, 3), 2),
        ((4, 4, 4), 2),
        ((5, 4, 4), 2),
        ((4, 5, 5), 2),
    ],
    ids=str,
)
def test_bfloat16_gradients_of_small_volumes_hold_nothing_else(sides, stride):
    # oneDNN's own leave parts of the filter gradient unwritten there: repeat, on a used heap.
    for seed in range(4):
        rng = np.random.default_rng(seed)
        strided = [-(-side // stride) for side in sides]
        volumes = [
            tf.cast(rng.standard_normal((4, *shape, 32)), tf.bfloat16) for shape in (sides, strided)
        ]
        kernel = tf.cast(rng.standard_normal((3, 3, 3, 32, 32)), tf.bfloat16)
        np.full(kernel.shape, 3e38, np.float32)
        assert_exact_but_rounded(volumes[0], kernel, stride, volumes[1])


def conv_and_gradients(convolve, x, kernel, stride, upstream):
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = convolve(x, kernel, stride)
    return [y, *tape.gradient(y, [x, kernel], output_gradients=upstream)]


def assert_exact_but_rounded(x, kernel, stride, upstream):
    """conv3d and its gradients in bfloat16 are those of float64, rounded."""
    actual = conv_and_gradients(conv3d, x, kernel, stride, upstream)
    x, kernel, upstream = (tf.cast(value, tf.float64) for value in (x, kernel, upstream))
    expected = conv_and_gradients(symmetric_conv3d, x, kernel, stride, upstream)
    for ours, exact in zip(actual, expected, strict=True):
        assert ours.dtype == tf.bfloat16
        # The sums are float32's; the result is rounded to 8 bits.
        np.testing.assert_allclose(
            tf.cast(ours, tf.float64), exact, rtol=2**-8, atol=1e-5 * np.abs(exact).max()
        )


@pytest.mark.parametrize(
    "height, width, channels, filters, stride",
    [
        (8, 8, 256, 256, 1),
        (12, 12, 128, 128, 1),
        (4, 4, 64, 128, 1),
        (2, 5, 48, 40, 1),
        (1, 1, 12, 10, 1),
        (16, 16, 128, 256, 2),
        (7, 10, 64, 40, 2),
        (3, 2, 12, 9, 2),
        (1, 1, 4, 5, 2),
    ],
)
def test_filter_gradient_as_matrix_products_is_tensorflows(
    height, width, channels, filters, stride, monkeypatch
):
    rng = np.random.default_rng(0)
    x, upstream = (
        rng.standard_normal((3, 1, *shape))
        for shape in (
            (height, width, channels),
            (-(-height // stride), -(-width // stride), filters),
        )
    )
    kernel = rng.standard_normal((3, 3, 3, channels, filters))
    coarse = [tf.cast(value, tf.bfloat16) for value in (x, kernel, upstream)]
    assert convolution._has_slow_filter_gradient(coarse[0][:, 0], coarse[1][1], stride)
    assert_exact_but_rounded(coarse[0], coarse[1], stride, coarse[2])
    # That was in float32 where the device has no instructions for bfloat16; this is by products.
    monkeypatch.setattr(convolution, "_has_slow_filter_gradient", lambda *_: True)
    arguments = tf.constant(x), tf.constant(kernel), stride, tf.constant(upstream)
    for ours, exact in zip(
        conv_and_gradients(conv3d, *arguments),
        conv_and_gradients(symmetric_conv3d, *arguments),
        strict=True,
    ):
        np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    "depth, size, stride", [(1, 3, 1), (1, 3, 2), (1, 1, 2), (4, 3, 1), (4, 3, 2), (4, 1, 2)]
)
def test_bfloat16_is_convolved_in_float32_where_the_device_has_no_instructions_for_it(
    depth, size, stride, fast, monkeypatch
):
    monkeypatch.setattr(convolution, "has_fast_bfloat16", lambda: fast)
    rng = np.random.default_rng(0)
    strided = [-(-side // stride) for side in (depth, 6, 6)]
    x, upstream = (
        tf.cast(rng.standard_normal((2, *shape)), tf.bfloat16)
        for shape in ((depth, 6, 6, 16), (*strided, 32))
    )
    kernel = tf.cast(rng.standard_normal((size, size, size, 16, 32)), tf.bfloat16)
    graph = (
        tf.function(conv_and_gradients)
        .get_concrete_function(conv3d, x, kernel, stride, upstream)
        .graph
    )
    convolutions = [op for op in graph.get_operations() if op.type.startswith("Conv")]
    assert len(convolutions) >= 3  # with both gradients
    assert {op.get_attr("T") for op in convolutions} == {tf.bfloat16 if fast else tf.float32}
    if not fast:
        assert_exact_but_rounded(x, kernel, stride, upstream)


@SETTINGS
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


def test_batch_norm_moves_averages_towards_the_unbiased_variance():
    x = np.random.default_rng(0).standard_normal((2, 1, 2, 2, 3)).astype(np.float32) * 3 + 1
    start = np.full(3, 0.5, np.float32)
    y, mean, var = ops.batch_norm_relu(x, np.ones(3, "f"), np.zeros(3, "f"), start, start, True)
    flat = x.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, 0.9 * 0.5 + 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(var, 0.9 * 0.5 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)
    normal = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    np.testing.assert_allclose(y, np.maximum(normal, 0).reshape(x.shape), atol=1e-5)


def test_batch_norm_in_evaluation_uses_and_keeps_the_averages():
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 2, 3)).astype(np.float32)
    averages = np.array([0.1, 0.2, 0.3], np.float32), np.array([1, 2, 3], np.float32)
    y, mean, var = ops.batch_norm_relu(x, np.ones(3, "f"), np.zeros(3, "f"), *averages, False)
    np.testing.assert_allclose(
        y, np.maximum((x - averages[0]) / np.sqrt(averages[1] + 1e-5), 0), atol=1e-6
    )
    assert np.array_equal(mean, averages[0]) and np.array_equal(var, averages[1])


def test_dropout_is_a_function_of_seed_and_iteration():
    x = tf.ones([4, 1, 32, 32, 16])

    def mask(seed, iteration):
        return ops.dropout(x, dropout_shares(0.3), dropout_position(seed, "a", iteration)).numpy()

    assert np.array_equal(mask(5, 0), mask(5, 0))
    assert not np.array_equal(mask(5, 0), mask(5, 1))
    assert not np.array_equal(mask(5, 0), mask(6, 0))
    kept = mask(5, 0)
    assert set(np.unique(kept)) == {0, np.float32(1 / 0.7)}
    assert (kept == 0).mean() == pytest.approx(0.3, abs=0.01)


def test_cross_entropy_is_the_mean_of_minus_log_probabilities():
    logits = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32) * 9
    labels = np.array([0, 1, 2, 3, 1])
    exponentials = np.exp(logits.astype(np.float64))
    expected = -np.log(exponentials[np.arange(5), labels] / exponentials.sum(1)).mean()
    assert ops.cross_entropy(labels, logits).numpy() == pytest.approx(expected, rel=1e-6)
    assert ops.accuracy(labels, logits).numpy() == np.float32((logits.argmax(1) == labels).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", [None, [0.5, 2.0, 1.0, 0.25]])
def test_smoothed_and_weighted_cross_entropy_is_pytorchs(smoothing, class_weights):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((9, 4)).astype(np.float32), rng.integers(0, 4, 9)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing, reduction="none"
    )
    weights = np.ones(4) if class_weights is None else np.array(class_weights)
    expected = (theirs.numpy() * weights[labels]).mean()
    found = ops.cross_entropy(labels, logits, smoothing=smoothing, class_weights=class_weights)
    assert found.numpy() == pytest.approx(expected, rel=1e-6)
