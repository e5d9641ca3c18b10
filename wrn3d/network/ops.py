"""The shared numerics: what a layer computes, in TensorFlow ops, for both front ends.

That both front ends run these same ops on the same shapes is why their results are the same to
the last bit. Volumes are (N, D, H, W, C) with static D, H, W, C. What follows a convolution
computes in the precision of its volumes; statistics, head and loss are float32.
"""

import tensorflow as tf

from wrn3d.distributed.collectives import batch_mean, current_shard

BATCH_NORM_EPSILON = 1e-5  # PyTorch's, and so the authors'
BATCH_NORM_MOMENTUM = 0.1  # of the newest batch in the running averages
PHILOX = 1  # among TensorFlow's generators


def batch_norm_relu(x, weight, bias, running_mean, running_var, training):
    """(y like x, the new running mean (C,), the new running variance (C,)).

    In training the batch's statistics normalise and move the averages by BATCH_NORM_MOMENTUM,
    the variance's towards its unbiased estimate; in evaluation the averages normalise and stay.
    Of several workers each has the whole batch's statistics or, as the setting `batch_norm` has it,
    those of its own rows, and the averages move by the mean of what the workers have.
    """
    depth, height, width, channels = x.shape[1:]
    flat = tf.reshape(x, [-1, depth * height, width, channels])  # the op is for images
    share = current_shard() if training else None
    if share and share.synchronised:
        y, mean, var = _batch_norm_of_all(share)(flat, *map(tf.convert_to_tensor, (weight, bias)))
        new_mean, new_var = (
            average + BATCH_NORM_MOMENTUM * (found - average)
            for average, found in ((running_mean, mean), (running_var, var))
        )
    else:
        y, new_mean, new_var, *_ = _fused_batch_norm(
            flat, weight, bias, running_mean, running_var, BATCH_NORM_MOMENTUM, training
        )
    if share and not share.synchronised:
        part = tf.cast(tf.shape(x)[0], tf.float32) / tf.cast(share.total, tf.float32)
        new_mean, new_var = tf.unstack(share.sum(part * tf.stack([new_mean, new_var])))
    # Not the other way round: TensorFlow would fuse them in evaluation, and hide what is no number.
    y = tf.nn.relu(tf.reshape(y, [-1, depth, height, width, channels]))
    return y, new_mean, new_var


def _fused_batch_norm(x, weight, bias, mean, var, factor, training):
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


def _batch_norm_of_all(share):
    """A function of (x (N, H, W, C), weight, bias): (y, mean, unbiased variance) by the statistics
    of every worker's rows. The workers send one message forward and one back."""

    @tf.custom_gradient
    def normalise(x, weight, bias):
        height, width, channels = x.shape[1:]
        count = height * width * tf.cast(share.total, tf.float64)
        # TensorFlow sums short rows fastest; what they come to is summed in float64. So the
        # variance is right within 2e-7 (1 + mean^2 / variance) of itself.
        rows = tf.cast(tf.reshape(x, [-1, width, channels]), tf.float32)
        sums, norms = (
            tf.cast(reduced, tf.float64)
            for reduced in (tf.reduce_sum(rows, 1), tf.math.reduce_euclidean_norm(rows, 1))
        )
        mean, square = tf.unstack(
            share.sum(tf.reduce_sum(tf.stack([sums, norms * norms]), 1)) / count
        )
        var = tf.maximum(square - mean * mean, 0)
        unbiased = tf.cast(var * (count / tf.maximum(count - 1, 1)), tf.float32)
        mean, var = tf.cast(mean, tf.float32), tf.cast(var, tf.float32)
        y, *_ = _fused_batch_norm(x, weight, bias, mean, var, 1.0, False)

        def gradients(upstream, *_):
            # With the statistics as constants; what depends on them is taken off below.
            x_gradient, weight_gradient, bias_gradient, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream,
                x=x,
                scale=weight,
                reserve_space_1=mean,
                reserve_space_2=var,
                reserve_space_3=[],
                epsilon=BATCH_NORM_EPSILON,
                is_training=False,
            )
            means = share.sum(tf.stack([weight_gradient, bias_gradient])) / tf.cast(
                count, tf.float32
            )
            scale = weight * tf.math.rsqrt(var + BATCH_NORM_EPSILON)
            through, *_ = _fused_batch_norm(
                x, scale * means[0], scale * means[1], mean, var, 1.0, False
            )
            return x_gradient - through, weight_gradient, bias_gradient

        return (y, mean, unbiased), gradients

    return normalise


def dropout(x, shares, position):
    """x with each element zeroed with the first of `shares` as its probability, the others divided
    by the second. The mask is a pure function of `position`, whoever has which rows of the batch.

    Both are variables, so that an iteration can have its own: `dropout_shares` and
    `dropout_position` make them.
    """
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=position)
    share = current_shard()
    if share:  # Philox makes four numbers at each value of its counter, a row many times four
        before = tf.cast(share.first * (x.shape[1:].num_elements() // 4), tf.uint64)
        counter += tf.stack([before, tf.zeros([], tf.uint64)])
    uniform = tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.shape(x), key=key, counter=counter, alg=PHILOX
    )
    dropped, kept = tf.unstack(shares)
    scale = tf.cast(uniform >= dropped, tf.float32) / kept  # which bfloat16 would round
    return tf.cast(tf.cast(x, tf.float32) * scale, x.dtype)


def pad_shortcut(x, filters, stride):
    """The original script's shortcut: average pooling, then zero channels on both ends.

    A window that crosses the far border averages what lies inside, and a side of length 1 stays.
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


def global_average_pool(x):
    """(N, D, H, W, C) -> (N, C) float32."""
    return tf.reduce_mean(tf.cast(x, tf.float32), axis=[1, 2, 3])


def dense(x, weight, bias):
    """(N, C) -> (N, units); TensorLayer's and Keras's own add the bias with different ops."""
    return tf.nn.bias_add(tf.matmul(x, weight), bias)


def cross_entropy(labels, logits, sample_weight=None, smoothing=0.0, class_weights=None):
    """The batch's mean loss, a scalar; labels (N,) of any number type, logits (N, classes).

    `smoothing` of each label is given to all classes alike (Szegedy et al. 2016). With
    `sample_weight` (N,), or by its class from `class_weights` (classes,), each sample's loss is
    multiplied before the mean.
    """
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int64)
    if smoothing:
        classes = logits.shape[-1]
        targets = tf.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
        losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    else:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if class_weights is not None:
        losses *= tf.gather(tf.constant(class_weights, losses.dtype), labels)
    if sample_weight is not None:
        losses *= tf.cast(tf.reshape(sample_weight, [-1]), losses.dtype)
    return batch_mean(losses)


def accuracy(labels, logits):
    """The share of the batch whose largest logit is the label's, a scalar."""
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int64)
    return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
