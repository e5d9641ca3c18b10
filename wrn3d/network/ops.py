"""Compute the layers' outputs and the loss with TensorFlow ops that both front ends share.

Both front ends run the same ops on the same shapes, so their results agree to the last bit.
Volumes are (N, D, H, W, C) with static D, H, W, C. A layer computes in the precision of its input,
float32 or bfloat16; batch-norm statistics, logits and the loss are float32. The convolution has a
module of its own, `convolution`, and so has batch norm, `batch_norm`.

Never add three terms in one expression: TensorFlow adds them in an order that depends on their
names, which differ between the front ends.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from wrn3d.distributed.shards import current_sharding
from wrn3d.system.checks import require

OwnLoss: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (labels, logits) -> (N,)

PHILOX = 1  # TensorFlow's number for this random generator


def dropout(
    x: tf.Tensor, shares: tf.Variable, position: tf.Variable, first_row: tf.Tensor | None = None
) -> tf.Tensor:
    """Zero each element of x with probability shares[0], and divide the others by shares[1].

    The mask depends only on `position` and on each row's place in the batch, which starts at
    `first_row`, a scalar int64, in a shard. `dropout_shares` and `dropout_position` make the values
    of both variables.
    """
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=position)
    if first_row is not None:
        # Philox makes 4 numbers from each counter value; a row takes a multiple of 4.
        before = tf.cast(first_row * (x.shape[1:].num_elements() // 4), tf.uint64)
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
    # TensorFlow's own gradient has other bits where the number of rows is unknown.
    part = np.float32(1) / np.float32(x.shape[1:-1].num_elements())

    @tf.custom_gradient
    def mean(x: tf.Tensor) -> tuple:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.broadcast_to((upstream * part)[:, None, None, None], tf.shape(x))

        return tf.reduce_mean(x, axis=[1, 2, 3]), gradient

    return mean(tf.cast(x, tf.float32))


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
    own: OwnLoss | None = None,
) -> tf.Tensor:
    """Return the batch's mean cross-entropy, a scalar; labels are (N,), logits (N, classes).

    Label smoothing spreads the share `smoothing` of each label evenly over all classes (Szegedy et
    al. 2016). Before the mean, each sample's loss is multiplied by its `sample_weight` (N,) and by
    its label's entry in `class_weights` (classes,). A function `own` of labels and logits replaces
    the cross-entropy; it returns the losses (N,). Each of several workers returns its part.

    Raises UsageError if `own` returns another shape.
    """
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int64)
    weights = [] if sample_weight is None else [tf.reshape(sample_weight, [-1])]
    losses = partial(_losses, smoothing=smoothing, class_weights=class_weights, own=own)
    sharding = current_sharding()
    if sharding is None:
        return tf.reduce_mean(losses(labels, logits, *weights))
    shards = map(sharding.split, (labels, logits, *weights))
    return sharding.mean([losses(*shard) for shard in zip(*shards, strict=True)])


def _losses(
    labels: tf.Tensor,
    logits: tf.Tensor,
    sample_weight: tf.Tensor | None = None,
    *,
    smoothing: float,
    class_weights: Sequence[float] | None,
    own: OwnLoss | None,
) -> tf.Tensor:
    """Return each sample's weighted loss, (N,)."""
    if own:
        losses = tf.convert_to_tensor(own(labels, logits))
        require(
            losses.shape.rank == 1,
            f"the loss has the shape {losses.shape} for each batch, but must be one number for "
            "each sample, (N,): leave out the mean",
        )
        losses = tf.cast(losses, logits.dtype)
    elif smoothing:
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
        losses *= tf.cast(sample_weight, losses.dtype)
    return losses


def accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the batch's accuracy, a scalar float32; labels are (N,), logits (N, classes)."""
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int64)
    return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
