"""Batch norm and ReLU: on a batch, on each shard, and on the shards of several workers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from wrn3d.distributed.collectives import tree_sum
from wrn3d.distributed.shards import Sharding
from wrn3d.network.batch_norm import (
    batch_norm_relu,
    local_batch_norm_relu,
    synchronised_batch_norm_relu,
)
from wrn3d.network.spec import BATCH_NORM_MOMENTUM


def test_batch_norm_moves_averages_towards_the_unbiased_variance():
    x = np.random.default_rng(0).standard_normal((2, 1, 2, 2, 3)).astype(np.float32) * 3 + 1
    start = np.full(3, 0.5, np.float32)
    y, mean, var = batch_norm_relu(x, np.ones(3, "f"), np.zeros(3, "f"), start, start, True)
    flat = x.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, 0.9 * 0.5 + 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(var, 0.9 * 0.5 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)
    normal = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    np.testing.assert_allclose(y, np.maximum(normal, 0).reshape(x.shape), atol=1e-5)


def test_batch_norm_in_evaluation_uses_and_keeps_the_averages():
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 2, 3)).astype(np.float32)
    averages = np.array([0.1, 0.2, 0.3], np.float32), np.array([1, 2, 3], np.float32)
    y, mean, var = batch_norm_relu(x, np.ones(3, "f"), np.zeros(3, "f"), *averages, False)
    np.testing.assert_allclose(
        y, np.maximum((x - averages[0]) / np.sqrt(averages[1] + 1e-5), 0), atol=1e-6
    )
    assert np.array_equal(mean, averages[0]) and np.array_equal(var, averages[1])


class Threads:
    """Workers that are threads: a Collectives for each, whose sums meet at a barrier."""

    def __init__(self, count):
        self.count, self.arrays, self.barrier = count, [None] * count, threading.Barrier(count)

    def worker(self, index):
        def summed(array):
            self.arrays[index] = array
            self.barrier.wait(60)
            total = tree_sum(tf.stack(self.arrays))
            self.barrier.wait(60)
            return total

        return SimpleNamespace(count=self.count, index=index, sum=summed)


def in_threads(bounds, work, shards):
    """Return the results of `work(rows, sharding)` in workers that are threads.

    Worker i has the rows from bounds[i] to bounds[i + 1], in its part of the `shards`.
    """
    count = len(bounds) - 1
    threads = Threads(count)

    def run(index):
        sharding = Sharding(shards, workers=threads.worker(index))
        sharding.first_row.assign(bounds[index])
        sharding.rows.assign(bounds[-1])
        return work(slice(*bounds[index : index + 2]), sharding)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.parametrize("precision, tolerance", [("float32", 2e-6), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("shape", [(7, 1, 6, 5, 4), (5, 3, 4, 2, 3)])
def test_batch_norm_covers_every_workers_rows(shape, precision, tolerance):
    """Compare output, averages and gradients on uneven rows with those on the whole batch."""
    draw = np.random.default_rng(0)
    x, upstream = (tf.constant(draw.normal(3, 2, shape), precision) for _ in range(2))
    weight, bias = (tf.constant(draw.uniform(0.5, 2, shape[-1]), tf.float32) for _ in range(2))
    zeros = tf.zeros(shape[-1])

    def work(rows, sharding=None):
        with tf.GradientTape() as tape:
            tape.watch([x, weight, bias])
            if sharding is None:
                y, *moments = batch_norm_relu(x, weight, bias, zeros, zeros, True)
                moments = tf.stack(moments) / BATCH_NORM_MOMENTUM
            else:
                shards = sharding.split(x[rows])
                ys, moments = synchronised_batch_norm_relu(shards, weight, bias, sharding)
                y = tf.concat(ys, 0)
        gradients = tape.gradient(y, [x, weight, bias], output_gradients=upstream[rows])
        return [np.asarray(array, np.float32) for array in (y, moments, *gradients)]

    expected = work(slice(None))
    for shards in (2, 4):
        first, second = in_threads([0, shape[0] // 2, shape[0]], work, shards)
        assert np.array_equal(first[1], second[1])  # the moments
        whole = [
            np.concatenate([first[0], second[0]]),
            first[1],
            *(first[place] + second[place] for place in (2, 3, 4)),  # parts of sums
        ]
        for array, other in zip(whole, expected, strict=True):
            assert np.abs(array - other).max() <= tolerance * np.abs(other).max()


def test_local_batch_norm_covers_each_shards_own_rows():
    """Compare with each shard computed alone. The weights' gradients are the sum of both."""
    draw = np.random.default_rng(0)
    x, upstream = (tf.constant(draw.normal(3, 2, (5, 1, 6, 5, 3)), tf.float32) for _ in range(2))
    weight, bias = (tf.constant(draw.uniform(0.5, 2, 3), tf.float32) for _ in range(2))

    def work(x, upstream, count):
        sharding = Sharding(count, synchronised=False)
        with tf.GradientTape() as tape:
            tape.watch([x, weight, bias])
            shards = sharding.split(x)
            ys, moments = local_batch_norm_relu(shards, weight, bias, sharding)
            y = tf.concat(ys, 0)
        return [y, moments, *tape.gradient(y, [x, weight, bias], output_gradients=upstream)]

    rows = slice(0, 2), slice(2, 5)
    parts = [work(x[own], upstream[own], 1) for own in rows]
    y, moments, x_gradient, *sums = work(x, upstream, 2)
    assert np.array_equal(y, tf.concat([part[0] for part in parts], 0))
    assert np.array_equal(moments, [part[1][0] for part in parts])
    assert np.array_equal(x_gradient, tf.concat([part[2] for part in parts], 0))
    for place, total in zip((3, 4), sums, strict=True):
        assert np.array_equal(total, parts[0][place] + parts[1][place])
    flat = x[:2].numpy().reshape(-1, 3).astype(np.float64)
    assert np.allclose(moments[0], [flat.mean(0), flat.var(0, ddof=1)], rtol=1e-6)


@pytest.mark.parametrize("distance", [0, 1, 10, 100])
def test_batch_norms_statistics_lose_little_far_from_zero(distance):
    """Compare with float64: the variance may be off by 2e-7 (1 + mean^2 / variance) of itself."""
    x = np.random.default_rng(0).normal(distance, 1, (6, 1, 8, 8, 16)).astype(np.float32)

    def work(rows, sharding):
        shards = sharding.split(tf.constant(x[rows]))
        return synchronised_batch_norm_relu(shards, tf.ones(16), tf.zeros(16), sharding)[1]

    mean, var = in_threads([0, 2, 6], work, 2)[0]
    wide = x.reshape(-1, 16).astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(0), rtol=2e-7, atol=2e-7)
    np.testing.assert_allclose(var, wide.var(0, ddof=1), rtol=2e-7 * (1 + distance**2))
