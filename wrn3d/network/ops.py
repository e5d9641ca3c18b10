"""Compute the layers' outputs and the loss with TensorFlow ops that both front ends share.

Both front ends run the same ops on the same shapes, so their results agree to the last bit.
Volumes are (N, D, H, W, C) with static D, H, W, C. A layer computes in the precision of its input,
float32 or bfloat16; batch-norm statistics, logits and the loss are float32. The convolution has a
module of its own, `convolution`.

Never add three terms in one expression: TensorFlow adds them in an order that depends on their
names, which differ between the front ends.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from wrn3d.distributed.collectives import Shard, batch_mean, current_shard
from wrn3d.network.spec import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM

PHILOX = 1  # TensorFlow's number for this random generator


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

    With several workers the statistics cover the global batch. With batch_norm="local" they cover
    the worker's own rows, and the new running averages are the workers' mean, weighted by rows.
    """
    depth, height, width, channels = x.shape[1:]
    images = tf.reshape(x, [-1, depth * height, width, channels])  # the op takes four axes
    shard = current_shard() if training else None
    if shard and shard.synchronised:
        y, mean, var = _synchronised_batch_norm(images, weight, bias, shard)
        new_mean = running_mean + BATCH_NORM_MOMENTUM * (mean - running_mean)
        new_var = running_var + BATCH_NORM_MOMENTUM * (var - running_var)
    else:
        y, new_mean, new_var, *_ = _fused_batch_norm(
            images, weight, bias, running_mean, running_var, BATCH_NORM_MOMENTUM, training
        )
    if shard and not shard.synchronised:
        part = tf.cast(tf.shape(x)[0], tf.float32) / tf.cast(shard.total, tf.float32)
        new_mean, new_var = tf.unstack(shard.sum(part * tf.stack([new_mean, new_var])))
    # ReLU comes after the reshape. Right after batch norm, TensorFlow would fuse the two in
    # evaluation, and the fused op turns NaN into 0.
    y = tf.nn.relu(tf.reshape(y, [-1, depth, height, width, channels]))
    return y, new_mean, new_var


def _fused_batch_norm(
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


def _synchronised_batch_norm(
    x: tf.Tensor, weight: tf.Variable, bias: tf.Variable, shard: Shard
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return (y (N, H, W, C), mean, unbiased variance), with the statistics of all workers' rows.

    The workers exchange one message in the forward pass and one in the backward pass.
    """

    @tf.custom_gradient
    def normalise(
        x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], Callable[..., tuple[tf.Tensor, ...]]]:
        height, width, channels = x.shape[1:]
        count = height * width * tf.cast(shard.total, tf.float64)
        # TensorFlow sums short rows fastest; float64 then adds the rows' sums. So the relative
        # error of the variance stays below 2e-7 (1 + mean^2 / variance).
        rows = tf.cast(tf.reshape(x, [-1, width, channels]), tf.float32)
        sums, norms = (
            tf.cast(reduced, tf.float64)
            for reduced in (tf.reduce_sum(rows, 1), tf.math.reduce_euclidean_norm(rows, 1))
        )
        mean, square = tf.unstack(
            shard.sum(tf.reduce_sum(tf.stack([sums, norms * norms]), 1)) / count
        )
        var = tf.maximum(square - mean * mean, 0)
        unbiased = tf.cast(var * (count / tf.maximum(count - 1, 1)), tf.float32)
        mean, var = tf.cast(mean, tf.float32), tf.cast(var, tf.float32)
        y, *_ = _fused_batch_norm(x, weight, bias, mean, var, 1.0, False)

        def gradients(upstream: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # First treat the statistics as constants, then subtract the gradient through them.
            x_gradient, weight_gradient, bias_gradient = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream,
                x=x,
                scale=weight,
                reserve_space_1=mean,
                reserve_space_2=var,
                reserve_space_3=[],
                epsilon=BATCH_NORM_EPSILON,
                is_training=False,
            )[:3]
            means = shard.sum(tf.stack([weight_gradient, bias_gradient])) / tf.cast(
                count, tf.float32
            )
            scale = weight * tf.math.rsqrt(var + BATCH_NORM_EPSILON)
            through_statistics = _fused_batch_norm(
                x, scale * means[0], scale * means[1], mean, var, 1.0, False
            )[0]
            return x_gradient - through_statistics, weight_gradient, bias_gradient

        return (y, mean, unbiased), gradients

    return normalise(x, tf.convert_to_tensor(weight), tf.convert_to_tensor(bias))


def dropout(x: tf.Tensor, shares: tf.Variable, position: tf.Variable) -> tf.Tensor:
    """Zero each element of x with probability shares[0], and divide the others by shares[1].

    The mask depends only on `position` and on each row's place in the global batch, not on the
    number of workers. `dropout_shares` and `dropout_position` make the values of both variables.
    """
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=position)
    shard = current_shard()
    if shard:  # Philox makes 4 numbers from each counter value; a row takes a multiple of 4
        before = tf.cast(shard.first * (x.shape[1:].num_elements() // 4), tf.uint64)
        counter += tf.stack([before, tf.zeros([], tf.uint64)])
    uniform = tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.shape(x), key=key, counter=counter, alg=PHILOX
    )
    dropped, kept = tf.unstack(shares)
    scale = tf.cast(uniform >= dropped, tf.float32) / kept  # bfloat16 would round it
    return tf.cast(tf.cast(x, tf.float32) * scale, x.dtype)


def pad_shortcut(x: tf.Tensor, filters: int, stride: int) -> tf.Tensor:
    """Return (N, ceil(D / stride), ..., filters): average pooling, then zero channels on both ends.

    This is the original script's shortcut. A window that crosses the far border averages the
    elements inside. A side of length 1 is not pooled.
    """
    if stride > 1:
        windows = [min(side, stride) for side in x.shape[1:-1]]
        if windows[0] == 1:
            pooled = tf.nn.avg_pool2d(tf.squeeze(x, 1), windows[1:], windows[1:], "SAME")
            x = tf.expand_dims(pooled, 1)
        else:
            x = tf.nn.avg_pool3d(x, windows, windows, "SAME")
    pad = filters - x.shape[-1]
    return tf.pad(x, [(0, 0)] * 4 + [(pad - pad // 2, pad // 2)])


def global_average_pool(x: tf.Tensor) -> tf.Tensor:
    """Return the mean over (D, H, W): (N, D, H, W, C) -> (N, C) float32."""
    return tf.reduce_mean(tf.cast(x, tf.float32), axis=[1, 2, 3])


def dense(x: tf.Tensor, weight: tf.Variable, bias: tf.Variable) -> tf.Tensor:
    """Return x @ weight + bias: (N, C) -> (N, units).

    TensorLayer's and Keras's own layers add the bias with different ops, whose gradients differ.
    """
    return tf.nn.bias_add(tf.matmul(x, weight), bias)


def cross_entropy(
    labels: tf.Tensor,
    logits: tf.Tensor,
    sample_weight: tf.Tensor | None = None,
    smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> tf.Tensor:
    """Return the batch's mean cross-entropy, a scalar; labels are (N,), logits (N, classes).

    Label smoothing spreads the share `smoothing` of each label evenly over all classes (Szegedy et
    al. 2016). Before the mean, each sample's loss is multiplied by its `sample_weight` (N,) and by
    its label's entry in `class_weights` (classes,).
    """
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int64)
    if smoothing:
        classes = logits.shape[-1]
        targets = tf.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
        losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    else:
        # What tf.nn.sparse_softmax_cross_entropy_with_logits computes where ops are deterministic,
        # but with no NaN for valid labels: tf.debugging.enable_check_numerics would report it.
        valid = tf.logical_and(labels >= 0, labels < logits.shape[-1])
        losses = -tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=1)
        losses *= tf.sqrt(tf.where(valid, 1.0, -1.0))
    if class_weights is not None:
        losses *= tf.gather(tf.constant(class_weights, losses.dtype), labels)
    if sample_weight is not None:
        losses *= tf.cast(tf.reshape(sample_weight, [-1]), losses.dtype)
    return batch_mean(losses)


def accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the batch's accuracy, a scalar float32; labels are (N,), logits (N, classes)."""
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int64)
    return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
