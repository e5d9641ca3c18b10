"""The shards of a batch: rows, sums in a fixed order, gradients, the order of gradients."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from wrn3d.distributed.collectives import Collectives, tree_sum
from wrn3d.distributed.shards import Sharding, current_sharding
from wrn3d.network import convolution, ops
from wrn3d.system.randomness import dropout_position, dropout_shares


def tree(arrays):
    """Return the sum of arrays in float32, neighbours first."""
    while len(arrays) > 1:
        arrays = [sum(arrays[place : place + 2]) for place in range(0, len(arrays), 2)]
    return arrays[0]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_sums_are_added_in_a_tree(count):
    """Check it in a graph with other additions, which TensorFlow's optimiser flattens."""
    draw = np.random.default_rng(0)
    arrays = [draw.normal(size=1000).astype(np.float32) for _ in range(count)]

    @tf.function(autograph=False)
    def summed(*arrays):
        return tree_sum(tf.stack([array + 0.5 * array for array in arrays])) + arrays[0]

    expected = tree([array + np.float32(0.5) * array for array in arrays]) + arrays[0]
    assert np.array_equal(summed(*arrays), expected)
    in_line = sum(array + np.float32(0.5) * array for array in arrays) + arrays[0]
    assert count < 4 or not np.array_equal(in_line, expected)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_variables_gradients_are_added_in_the_tree(workers):
    """Check it for the gradient of four shards' products with one matrix, by workers' parts."""
    draw = np.random.default_rng(0)
    weight = tf.constant(draw.normal(size=(5, 3)), tf.float32)
    x = draw.normal(size=(8, 5)).astype(np.float32)

    def gradient(rows, count):
        sharding = Sharding(count)

        @tf.function(autograph=False)
        def run(x):
            with tf.GradientTape() as tape:
                tape.watch(weight)
                shards = zip(sharding.split(x), sharding.copies(weight), strict=True)
                products = [tf.reduce_sum((shard @ copy) ** 2) for shard, copy in shards]
                loss = tf.add_n(products)
            return tape.gradient(loss, weight)

        return run(rows).numpy()

    expected = tree([gradient(rows, 1) for rows in np.split(x, 4)])
    parts = [gradient(rows, 4 // workers) for rows in np.split(x, workers)]
    assert np.array_equal(tree(parts), expected)


def test_shards_have_all_rows_in_order_and_their_shares():
    sharding = Sharding(4)
    rows = tf.reshape(tf.range(22.0), (11, 2))
    shards = sharding.split(rows)
    assert [len(shard) for shard in shards] == [2, 3, 3, 3]
    assert np.array_equal(tf.concat(shards, 0), rows)
    assert [int(row) for row in sharding.first_rows(shards)] == [0, 2, 5, 8]
    assert np.array_equal(sharding.shares(shards), np.array([2, 3, 3, 3]) / 11)


def test_a_batch_has_shards_only_inside_around():
    sharding = Sharding(2)
    assert sharding.around(current_sharding)() is sharding
    assert current_sharding() is None


def test_a_shard_has_its_rows_of_the_dropout_mask():
    x = tf.ones((7, 2, 3, 3, 16))
    shares, position = dropout_shares(0.3), dropout_position(5, "layer", 11)
    whole = ops.dropout(x, shares, position).numpy()
    for first, last in ((0, 3), (3, 7)):
        first_row = tf.constant(first, tf.int64)
        rows = ops.dropout(x[first:last], shares, position, first_row)
        assert np.array_equal(rows, whole[first:last])


def test_a_kernels_gradient_is_ready_before_the_layer_below_hands_its_own_on():
    """Check the order, which lets a worker send the gradient early, and that no bit changes."""
    draw = np.random.default_rng(0)
    arrays = [
        tf.constant(draw.normal(size=shape), tf.float32)
        for shape in ((2, 1, 6, 6, 4), (3, 3, 3, 4, 5), (3, 3, 3, 5, 6), (3, 3, 3, 6, 7))
    ]

    def gradients(sharding, x, *kernels):
        with tf.GradientTape() as tape:
            tape.watch([x, *kernels])
            y = x
            for kernel in kernels:
                y, kernel = sharding.kernel_gradient_soon(y, kernel, 0)
                y = tf.nn.relu(convolution.conv3d(y, kernel))
            loss = tf.reduce_sum(y**2)
        return tape.gradient(loss, [x, *kernels])

    alone, first = (
        partial(gradients, Sharding(2, workers=workers)) for workers in (None, Collectives(2, 0))
    )
    alone, sharded = (
        tf.function(function, autograph=False).get_concrete_function(*arrays)
        for function in (alone, first)
    )
    # The upstream gradients of layers 2 and 1 wait for the kernel gradients of layers 3 and 2.
    waiting = [
        [before.name for before in operation.control_inputs]
        for operation in sharded.graph.get_operations()
        if operation.type == "Identity" and operation.control_inputs
    ]
    *_, second, third = [output.op.inputs[0].op.name for output in sharded.graph.outputs]
    assert waiting == [[third], [second]]
    for result in sharded(*arrays), first(*arrays):  # in a graph and without
        assert all(np.array_equal(*pair) for pair in zip(alone(*arrays), result, strict=True))
