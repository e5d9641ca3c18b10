"""The convolution against TensorFlow's own in float64, over many shapes."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from wrn3d.network import convolution
from wrn3d.network.convolution import conv3d

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)


def symmetric_conv3d(x, kernel, stride):
    """Return the convolution with PyTorch's padding=k // 2, by TensorFlow's own Conv3D."""
    margin = kernel.shape[0] // 2
    padded = tf.pad(x, [(0, 0)] + [(margin, margin)] * 3 + [(0, 0)])
    return tf.nn.conv3d(padded, kernel, [1, stride, stride, stride, 1], "VALID")


def example(seed, sides, channels, filters, size, stride, dtype=tf.bfloat16, count=2):
    """Return random arguments of `outputs`: (x, kernel, stride, the result's gradient)."""
    rng = np.random.default_rng(seed)
    strided = [-(-side // stride) for side in sides]
    x, kernel, upstream = (
        tf.cast(rng.standard_normal(shape), dtype)
        for shape in (
            (count, *sides, channels),
            (size, size, size, channels, filters),
            (count, *strided, filters),
        )
    )
    return x, kernel, stride, upstream


def outputs(convolve, x, kernel, stride, upstream):
    """Return [result, gradient of x, gradient of the kernel]."""
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = convolve(x, kernel, stride)
    return [y, *tape.gradient(y, [x, kernel], output_gradients=upstream)]


def assert_exact(arguments, tolerances=(1e-12, 1e-11, 1e-11)):
    """Check conv3d and its gradients in float64; return them."""
    actual, expected = outputs(conv3d, *arguments), outputs(symmetric_conv3d, *arguments)
    for ours, exact, tolerance in zip(actual, expected, tolerances, strict=True):
        np.testing.assert_allclose(ours, exact, rtol=0, atol=tolerance, strict=True)
    return actual


def assert_exact_but_rounded(x, kernel, stride, upstream):
    """Check that conv3d and its gradients in bfloat16 are the exact ones, rounded."""
    actual = outputs(conv3d, x, kernel, stride, upstream)
    x, kernel, upstream = (tf.cast(value, tf.float64) for value in (x, kernel, upstream))
    expected = outputs(symmetric_conv3d, x, kernel, stride, upstream)
    for ours, exact in zip(actual, expected, strict=True):
        assert ours.dtype == tf.bfloat16
        # The sums are float32; the result is rounded to 8 bits.
        np.testing.assert_allclose(
            tf.cast(ours, tf.float64), exact, rtol=2**-8, atol=1e-5 * np.abs(exact).max()
        )


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
    sides = depth, height, width
    *_, gradient = assert_exact(example(seed, sides, channels, filters, size, stride, tf.float64))
    if depth == 1:
        assert not np.delete(gradient.numpy(), size // 2, axis=0).any()


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
    assert_exact_but_rounded(*example(seed, sides, channels, filters, size, stride))


@pytest.mark.parametrize(
    "sides, stride",
    [
        ((2, 2, 1), 1),
        ((2, 1, 5), 1),
        ((3, 2, 2), 1),
        ((2, 2, 2), 2),
        ((4, 4, 4), 2),
        pytest.param((5, 4, 4), 2, marks=pytest.mark.slow),
        pytest.param((4, 5, 5), 2, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_bfloat16_gradients_of_small_volumes_are_written_in_full(sides, stride):
    # oneDNN would leave parts of such filter gradients unwritten. Repeat with large numbers in
    # the memory that it gets.
    for seed in range(4):
        arguments = example(seed, sides, 32, 32, 3, stride, count=4)
        np.full(arguments[1].shape, 3e38, np.float32)
        assert_exact_but_rounded(*arguments)


@pytest.mark.parametrize(
    "height, width, channels, filters, stride",
    [
        (4, 4, 64, 128, 1),
        (2, 5, 48, 40, 1),
        (1, 1, 12, 10, 1),
        (7, 10, 64, 40, 2),
        (3, 2, 12, 9, 2),
        (1, 1, 4, 5, 2),
        pytest.param(8, 8, 256, 256, 1, marks=pytest.mark.slow),
        pytest.param(12, 12, 128, 128, 1, marks=pytest.mark.slow),
        pytest.param(16, 16, 128, 256, 2, marks=pytest.mark.slow),
    ],
)
def test_filter_gradient_as_matrix_products_is_tensorflows(
    height, width, channels, filters, stride, monkeypatch
):
    arguments = 0, (1, height, width), channels, filters, 3, stride
    x, kernel, _, upstream = example(*arguments, count=3)
    assert convolution._has_slow_filter_gradient(x[:, 0], kernel[1], stride)
    assert_exact_but_rounded(x, kernel, stride, upstream)
    # A device without bfloat16 instructions took float32 and no products. Force the products.
    monkeypatch.setattr(convolution, "_has_slow_filter_gradient", lambda *_: True)
    assert_exact(example(*arguments, tf.float64, count=3), [1e-10] * 3)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("depth, size, stride", [(1, 3, 1), (1, 1, 2), (4, 3, 2)])
def test_bfloat16_is_convolved_in_float32_on_a_device_without_its_instructions(
    depth, size, stride, fast, monkeypatch
):
    monkeypatch.setattr(convolution, "has_fast_bfloat16", lambda: fast)
    arguments = example(0, (depth, 6, 6), 16, 32, size, stride)
    graph = tf.function(outputs).get_concrete_function(conv3d, *arguments).graph
    convolutions = [op for op in graph.get_operations() if op.type.startswith("Conv")]
    assert len(convolutions) >= 3  # with both gradients
    assert {op.get_attr("T") for op in convolutions} == {tf.bfloat16 if fast else tf.float32}
    if not fast:
        assert_exact_but_rounded(*arguments)
