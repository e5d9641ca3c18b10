"""The shared numerics: what a layer computes, in TensorFlow ops, for both front ends.

That both front ends run these same ops on the same shapes is why their results are the same to
the last bit. Volumes are (N, D, H, W, C) with static D, H, W, C. What follows a convolution
computes in the precision of its volumes; statistics, head and loss are float32.
"""
import tensorflow as tf

BATCH_NORM_EPSILON = 1e-5  # PyTorch's, and so the authors'
BATCH_NORM_MOMENTUM = 0.1  # of the newest batch in the running averages


def batch_norm_relu(x, weight, bias, running_mean, running_var, training):
    """(y like x, the new running mean (C,), the new running variance (C,)).

    In training the batch's statistics normalise and move the averages by BATCH_NORM_MOMENTUM,
    the variance's towards its unbiased estimate; in evaluation the averages normalise and stay.
    """
    depth, height, width, channels = x.shape[1:]
    flat = tf.reshape(x, [-1, depth * height, width, channels])  # the op is for images
    y, new_mean, new_var, *_ = tf.raw_ops.FusedBatchNormV3(
        x=flat, scale=weight, offset=bias, mean=running_mean, variance=running_var,
        epsilon=BATCH_NORM_EPSILON, exponential_avg_factor=BATCH_NORM_MOMENTUM,
        is_training=training)
    y = tf.reshape(tf.nn.relu(y), [-1, depth, height, width, channels])
    return y, new_mean, new_var


def dropout(x, shares, position):
    """x with each element zeroed with the first of `shares` as its probability, the others divided
    by the second. The mask is a pure function of `position`.

    Both are variables, so that an iteration can have its own: `dropout_shares` and
    `dropout_position` make them.
    """
    uniform = tf.random.stateless_uniform(tf.shape(x), position, alg="philox")
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
    return tf.reduce_mean(losses)


def accuracy(labels, logits):
    """The share of the batch whose largest logit is the label's, a scalar."""
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int64)
    return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
