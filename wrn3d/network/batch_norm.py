"""Batch norm and ReLU: on a whole batch, on each shard, or on all shards of a batch together.

Volumes are (N, D, H, W, C) with static D, H, W, C, in float32 or bfloat16; statistics are float32.

TensorFlow fuses batch norm with a ReLU right behind it, which saves a pass over memory. In float32
the fused op makes 0 of NaN. So the two are fused only in training, where the model looks for NaN
in the statistics (`showing_nan`, `nan_unless_finite`).
"""

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from wrn3d.distributed.collectives import tree_sum
from wrn3d.distributed.shards import Sharding
from wrn3d.network.spec import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM

Tensors = list[tf.Tensor]

_watched: ContextVar[Tensors | None] = ContextVar("watched", default=None)


def showing_nan(call: Callable[..., tf.Tensor], *arguments: Any) -> tf.Tensor:
    """Return the logits of `call`, or NaN if a batch norm that it trains is not finite.

    What must be finite: the batch's mean and variance, weight and bias.
    """
    watched: Tensors = []
    token = _watched.set(watched)
    try:
        logits = call(*arguments)
    finally:
        _watched.reset(token)
    return logits + nan_unless_finite(watched) if watched else logits


def nan_unless_finite(arrays: Iterable[Any]) -> tf.Tensor:
    """Return 0 if all numbers in the float32 `arrays` are finite, else NaN: a scalar."""
    numbers = tf.concat([tf.reshape(array, [-1]) for array in arrays], 0)
    # No constant NaN: tf.debugging.enable_check_numerics would report it.
    return tf.sqrt(tf.where(tf.reduce_all(tf.math.is_finite(numbers)), 0.0, -1.0))


def batch_norm_relu(
    x: tf.Tensor,
    weight: tf.Variable,
    bias: tf.Variable,
    running_mean: tf.Variable,
    running_var: tf.Variable,
    training: bool,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return (y, new running mean, new running variance): shapes like x, (C,) and (C,).

    In training, the batch's mean and variance normalise x. They also enter the running averages
    with the weight BATCH_NORM_MOMENTUM, the variance as its unbiased estimate. In evaluation, the
    running averages normalise x and do not change.
    """
    y, mean, var, *own = _fused(
        _as_images(x), weight, bias, running_mean, running_var, BATCH_NORM_MOMENTUM, training
    )
    watched = _watched.get()
    if training and watched is not None:
        watched += [*own[:2], weight, bias]  # the batch's mean and variance
        return _as_volumes(tf.nn.relu(y), x), mean, var
    return tf.nn.relu(_as_volumes(y, x)), mean, var  # not fused


def local_batch_norm_relu(
    shards: Sequence[tf.Tensor], weight: Any, bias: Any, sharding: Sharding
) -> tuple[Tensors, tf.Tensor]:
    """Normalise each shard, (n, D, H, W, C), with its own statistics (Hoffer et al. 2017).

    Returns the activated shards and their means and unbiased variances, (local, 2, C). A NaN in x
    is in these moments, but not in the result: in float32, the fused ReLU makes 0 of it.
    """
    copies = (sharding.copies(tf.convert_to_tensor(array)) for array in (weight, bias))
    activated, moments = [], []
    for x, *affine in zip(shards, *copies, strict=True):
        y, *own = _with_own_statistics(_as_images(x), *affine)
        activated.append(_as_volumes(tf.nn.relu(y), x))
        moments.append(own)
    return activated, tf.stack(moments)


def synchronised_batch_norm_relu(
    shards: Sequence[tf.Tensor], weight: Any, bias: Any, sharding: Sharding
) -> tuple[Tensors, tf.Tensor]:
    """Normalise the shards, (n, D, H, W, C), with the statistics of the whole batch.

    Returns the activated shards and the batch's mean and unbiased variance, (2, C). Workers
    exchange one message in the forward pass and one in the backward pass. A NaN in x is in these
    moments alone, as in `local_batch_norm_relu`.
    """
    *normalised, moments = _synchronised(
        sharding, [_as_images(x) for x in shards], *map(tf.convert_to_tensor, (weight, bias))
    )
    pairs = zip(normalised, shards, strict=True)
    return [_as_volumes(tf.nn.relu(y), x) for y, x in pairs], moments


def _synchronised(
    sharding: Sharding, shards: Tensors, weight: tf.Tensor, bias: tf.Tensor
) -> Sequence[tf.Tensor]:
    """Return the normalised shards, (n, H, W, C), and the batch's moments, (2, C)."""
    height, width, channels = shards[0].shape[1:]
    shares = tf.reshape(sharding.shares(shards), [-1, 1])
    pixels = height * width * tf.cast(sharding.total(shards), tf.float64)

    @tf.custom_gradient
    def normalise(weight: tf.Tensor, bias: tf.Tensor, *shards: tf.Tensor) -> tuple:
        # Of a shard, only the moments are used: no other op finds them as fast. float64 adds them
        # up, so the relative error of the variance stays near 2e-7 (1 + mean^2 / variance).
        affine = tf.ones(channels), tf.zeros(channels)
        moments = tf.stack([_with_own_statistics(x, *affine)[1:] for x in shards])
        means, variances = tf.unstack(tf.cast(moments, tf.float64), axis=1)
        own = shares * pixels
        variances *= tf.maximum(own - 1, 1) / own  # no longer the unbiased estimates
        sums = shares[:, tf.newaxis] * tf.stack([means, variances + means * means], 1)
        mean, square = tf.unstack(sharding.sum(sums))
        var = tf.maximum(square - mean * mean, 0)
        unbiased = tf.cast(var * (pixels / tf.maximum(pixels - 1, 1)), tf.float32)
        mean, var = tf.cast(mean, tf.float32), tf.cast(var, tf.float32)

        def gradients(*upstream: tf.Tensor) -> Tensors:
            # First treat the statistics as constants, then subtract the gradient through them.
            pairs = zip(upstream[:-1], shards, strict=True)  # the moments pass no gradient on
            direct, *sums = zip(
                *(_gradients_of_affine(dy, x, weight, mean, var) for dy, x in pairs), strict=True
            )
            own_sum = tree_sum(tf.stack(sums, 1))
            means = sharding.over_workers(own_sum) / tf.cast(pixels, tf.float32)
            # In float32, rsqrt begins with an instruction that rounds otherwise on Intel and AMD,
            # and TensorFlow makes it of a division by a root.
            scaling = tf.math.rsqrt(tf.cast(var + BATCH_NORM_EPSILON, tf.float64))
            scale, offset = tf.unstack(weight * tf.cast(scaling, tf.float32) * means)
            through_statistics = [_affine(x, scale, offset, mean, var) for x in shards]
            return [*tf.unstack(own_sum), *map(tf.subtract, direct, through_statistics)]

        normalised = [_affine(x, weight, bias, mean, var) for x in shards]
        return [*normalised, tf.stack([mean, unbiased])], gradients

    return normalise(weight, bias, *shards)


def _as_images(x: tf.Tensor) -> tf.Tensor:
    """Return (N, D, H, W, C) as (N, D H, W, C): TensorFlow's batch norm takes four axes."""
    depth, height, width, channels = x.shape[1:]
    return tf.reshape(x, [-1, depth * height, width, channels])


def _as_volumes(y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Return y in the shape of the volumes x."""
    return tf.reshape(y, [-1, *x.shape[1:]])


def _with_own_statistics(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> Sequence[tf.Tensor]:
    """Return x normalised by its own statistics, its mean and its unbiased variance."""
    unused = tf.zeros_like(weight)
    return _fused(x, weight, bias, unused, unused, 1.0, True)[:3]


def _affine(
    x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, mean: tf.Tensor, var: tf.Tensor
) -> tf.Tensor:
    """Return x normalised by the given statistics."""
    return _fused(x, weight, bias, mean, var, 1.0, False)[0]


def _gradients_of_affine(
    upstream: tf.Tensor, x: tf.Tensor, weight: tf.Tensor, mean: tf.Tensor, var: tf.Tensor
) -> Sequence[tf.Tensor]:
    """Return the gradients of `_affine` with respect to x, weight and bias."""
    return tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=upstream,
        x=x,
        scale=weight,
        reserve_space_1=mean,
        reserve_space_2=var,
        reserve_space_3=[],
        epsilon=BATCH_NORM_EPSILON,
        is_training=False,
    )[:3]


def _fused(
    x: tf.Tensor,
    weight: tf.Tensor,
    bias: tf.Tensor,
    mean: tf.Tensor,
    var: tf.Tensor,
    factor: float,
    training: bool,
) -> Sequence[tf.Tensor]:
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=weight,
        offset=bias,
        mean=mean,
        variance=var,
        epsilon=BATCH_NORM_EPSILON,
        exponential_avg_factor=factor,
        is_training=training,
    )
