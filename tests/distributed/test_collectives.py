"""The network's ops on a worker's rows: dropout, batch norm, the order of gradients."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from wrn3d.distributed.collectives import Shard, tracing_for
from wrn3d.network import convolution, ops
from wrn3d.system.randomness import dropout_position, dropout_shares


def test_a_worker_has_its_rows_of_the_dropout_mask():
    x = tf.ones((7, 2, 3, 3, 16))
    shares, position = dropout_shares(0.3), dropout_position(5, "layer", 11)
    whole = ops.dropout(x, shares, position).numpy()
    shard = Shard(2, synchronised=True, single_depth=False)
    for first, last in ((0, 3), (3, 7)):
        shard.first.assign(first)
        with tracing_for(shard):
            assert np.array_equal(ops.dropout(x[first:last], shares, position), whole[first:last])


def test_a_kernels_gradient_is_ready_before_the_layer_below_hands_its_own_on():
    """Check the order, which lets a worker send the gradient early, and that no bit changes."""
    draw = np.random.default_rng(0)
    arrays = [
        tf.constant(draw.normal(size=shape), tf.float32)
        for shape in ((2, 1, 6, 6, 4), (3, 3, 3, 4, 5), (3, 3, 3, 5, 6), (3, 3, 3, 6, 7))
    ]

    def gradients(x, *kernels):
        with tf.GradientTape() as tape:
            tape.watch([x, *kernels])
            y = x
            for kernel in kernels:
                y = tf.nn.relu(convolution.conv3d(y, kernel))
            loss = tf.reduce_sum(y**2)
        return tape.gradient(loss, [x, *kernels])

    shard = Shard(2, synchronised=True, single_depth=True)

    def sharded_gradients(*arrays):
        with tracing_for(shard):
            return gradients(*arrays)

    alone, sharded = (
        tf.function(function, autograph=False).get_concrete_function(*arrays)
        for function in (gradients, sharded_gradients)
    )
    # The upstream gradients of layers 2 and 1 wait for the kernel gradients of layers 3 and 2.
    waiting = [
        [before.name for before in operation.control_inputs]
        for operation in sharded.graph.get_operations()
        if operation.type == "Identity" and operation.control_inputs
    ]
    *_, second, third = [output.op.inputs[0].op.name for output in sharded.graph.outputs]
    assert waiting == [[third], [second]]
    for result in sharded(*arrays), sharded_gradients(*arrays):
        assert all(np.array_equal(*pair) for pair in zip(alone(*arrays), result, strict=True))


def in_threads(bounds, work):
    """Return the results of `work(rows)` in workers that are threads.

    Worker i has the rows from bounds[i] to bounds[i + 1].
    """
    count = len(bounds) - 1
    arrays, barrier = [None] * count, threading.Barrier(count)

    def run(index):
        def sum_over_threads(array):
            arrays[index] = array
            barrier.wait(60)
            total = sum(arrays[1:], arrays[0])
            barrier.wait(60)
            return total

        shard = Shard(count, synchronised=True, single_depth=False)
        shard.first.assign(bounds[index])
        shard.total.assign(bounds[-1])
        shard.sum = sum_over_threads
        with tracing_for(shard):
            return work(slice(*bounds[index : index + 2]))

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.parametrize("precision, tolerance", [("float32", 2e-6), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("shape", [(7, 1, 6, 5, 4), (5, 3, 4, 2, 3)])
def test_batch_norm_covers_every_workers_rows(shape, precision, tolerance):
    """Compare output, averages and gradients on uneven rows with those on the whole batch."""
    draw = np.random.default_rng(0)
    x, upstream = (tf.constant(draw.normal(3, 2, shape), precision) for _ in range(2))
    weight, bias, mean, var = (
        tf.constant(draw.uniform(0.5, 2, shape[-1]), tf.float32) for _ in range(4)
    )

    def work(rows):
        with tf.GradientTape() as tape:
            tape.watch([x, weight, bias])
            y, *averages = ops.batch_norm_relu(x[rows], weight, bias, mean, var, True)
        gradients = tape.gradient(y, [x, weight, bias], output_gradients=upstream[rows])
        return [np.asarray(array, np.float32) for array in (y, *averages, *gradients)]

    expected = work(slice(None))
    first, second = in_threads([0, 2, shape[0]], work)
    assert all(np.array_equal(first[place], second[place]) for place in (1, 2))  # the averages
    whole = [
        np.concatenate([first[0], second[0]]),
        *first[1:3],
        *(first[place] + second[place] for place in (3, 4, 5)),  # each worker has a part of the sum
    ]
    for array, other in zip(whole, expected, strict=True):
        assert np.abs(array - other).max() <= tolerance * np.abs(other).max()


def test_local_batch_norm_covers_only_a_workers_own_rows():
    x = tf.constant(np.random.default_rng(0).normal(3, 2, (4, 1, 6, 5, 3)), tf.float32)
    ones, zeros = tf.ones(3), tf.zeros(3)
    arguments = x, ones, zeros, zeros, ones, True
    expected, *averages = ops.batch_norm_relu(*arguments)
    shard = Shard(2, synchronised=False, single_depth=False)
    shard.total.assign(8)
    shard.sum = lambda array: array + 0.5  # averages of 1 in the other half of the batch
    with tracing_for(shard):
        y, *shared = ops.batch_norm_relu(*arguments)
    assert np.array_equal(y, expected)
    assert np.allclose(shared, (np.array(averages) + 1) / 2)


@pytest.mark.parametrize("distance", [0, 1, 10, 100])
def test_batch_norms_statistics_lose_little_far_from_zero(distance):
    """Compare with float64: the variance may be off by 2e-7 (1 + mean^2 / variance) of itself."""
    x = np.random.default_rng(0).normal(distance, 1, (6, 1, 8, 8, 16)).astype(np.float32)

    def work(rows):
        ones, zeros = tf.ones(16), tf.zeros(16)
        return ops.batch_norm_relu(tf.constant(x[rows]), ones, zeros, zeros, zeros, True)[1:]

    mean, var = in_threads([0, 2, 6], work)[0]
    wide = x.reshape(-1, 16).astype(np.float64)
    momentum, allowed = ops.BATCH_NORM_MOMENTUM, 2e-7 * (1 + distance**2)
    np.testing.assert_allclose(mean, momentum * wide.mean(0), rtol=2e-7, atol=2e-8)
    np.testing.assert_allclose(var, momentum * wide.var(0, ddof=1), rtol=allowed)
