"""The convolution, at the lowest exact price: 2D where a volume has depth 1.

Volumes are (N, D, H, W, C) with static D, H, W, C.
"""

import tensorflow as tf

from wrn3d.distributed.collectives import kernel_gradient_soon
from wrn3d.system.tensorflow_setup import has_fast_bfloat16


def conv3d(x, kernel, stride=1):
    """Convolution with symmetric zero padding, (N, D, H, W, C) -> (N, ceil(D / stride), ..., F).

    `kernel` is (k, k, k, C, F) with an odd k, padded by k // 2 on both sides as PyTorch does
    (TensorFlow's 'SAME' pads one side alone where the stride is 2). A volume of depth 1 meets
    nothing but the kernel's centre slice: there the 2D convolution with it is exact. The
    result has the precision of x.
    """
    x, kernel = kernel_gradient_soon(x, kernel)
    given, x = x.dtype, tf.cast(x, _computing_precision(x))
    if x.shape[1] > 1:
        return tf.cast(_convolve(x, tf.cast(kernel, x.dtype), stride), given)
    # By tf.slice, whose gradient pads: that of an index takes a tenth of an iteration's time.
    centre = tf.slice(kernel, [kernel.shape[0] // 2, 0, 0, 0, 0], [1, -1, -1, -1, -1])
    y = _convolve(tf.squeeze(x, 1), tf.cast(tf.squeeze(centre, 0), x.dtype), stride)
    return tf.cast(tf.expand_dims(y, 1), given)


def _convolve(x, kernel, stride):
    """The same over any number of dimensions, by the cheapest padding that is exact."""
    sides, windows = x.shape[1:-1], kernel.shape[:-2]
    # Named, since the eager gradient of a 3D convolution fails on the default (TensorFlow 2.21).
    data_format = {2: "NHWC", 3: "NDHWC"}[len(sides)]
    if stride > 1 and windows == [1, 1]:
        x, stride = _thinned(x, stride), 1  # oneDNN would take twice as long in bfloat16
    slow, padding = _has_slow_filter_gradient(x, kernel, stride), "SAME"
    if stride > 1:
        paddings = [_strided_padding(*pair, stride) for pair in zip(sides, windows, strict=True)]
        if any(map(any, paddings)):
            x = tf.pad(x, [(0, 0), *paddings, (0, 0)])
        padding = "VALID"
    if slow:
        return _convolve_small_images(x, kernel, stride, padding)
    return tf.nn.convolution(x, kernel, stride, padding, data_format)


def _thinned(x, stride):
    """(N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), C): the first pixel of each block, by
    a slice of what has the blocks as axes, since one with steps takes ten times as long."""
    _, height, width, channels = x.shape
    far = [-side % stride for side in (height, width)]
    if any(far):
        x = tf.pad(x, [(0, 0), *((0, more) for more in far), (0, 0)])
    rows, columns = (-(-side // stride) for side in (height, width))
    x = tf.reshape(x, [-1, rows, stride, columns, stride * channels])
    x = tf.slice(x, [0] * 5, [-1, rows, 1, columns, channels])
    return tf.reshape(x, [-1, rows, columns, channels])


def _strided_padding(side, window, stride):
    """(near, far) zeros: of the symmetric padding, only what a window reads."""
    near = window // 2
    last_window_start = (side + 2 * near - window) // stride * stride
    return near, max(0, last_window_start + window - near - side)


def _computing_precision(x):
    """x's own or, in place of a bfloat16 that TensorFlow's gradients would suffer from, float32.

    Where the device has no instructions for it, they take fifteen to thirty times as long and sum
    in bfloat16. On volumes with sides of 1 and 2 oneDNN 3.7's may leave parts of the filter
    gradient unwritten, as seen on CPUs with AVX512_BF16: so up to 3 for safety, and on every
    device, since such volumes are little work.
    """
    small_volume = x.shape[1] > 1 and min(x.shape[1:-1]) < 4
    return (
        tf.float32
        if x.dtype == tf.bfloat16 and (small_volume or not has_fast_bfloat16())
        else x.dtype
    )


def _has_slow_filter_gradient(x, kernel, stride):
    """Whether oneDNN 3.7's bfloat16 filter gradient is slower than matrix products.

    It falls to half its speed on many channels of few pixels (640 of 8x8: 47 ms against 20; with
    stride 2 from 128 of 16x16: 38 against 19). The line between them fits 25 shapes, measured on
    two cores with AMX. A GPU's would not be slow, but takes the same way.
    """
    *windows, channels, filters = kernel.shape
    return (
        x.dtype == tf.bfloat16
        and windows == [3, 3]
        and stride <= 2
        and min(channels, filters) ** 2 * stride**3 >= 100 * x.shape[1] * x.shape[2]
    )


def _convolve_small_images(x, kernel, stride, padding):
    """3x3 convolution, (N, H, W, C) -> (N, h, w, F), with its filter gradient as three matrix
    products."""

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradients(upstream):
            input_gradient = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(x), stride, padding)
            return input_gradient, _filter_gradient(x, upstream, stride, padding)

        return tf.nn.conv2d(x, kernel, stride, padding), gradients

    return convolve(x, kernel)


def _filter_gradient(x, upstream, stride, padding):
    """(3, 3, C, F) of x (N, H, W, C) and upstream (N, h, w, F): one product for each row of the
    kernel, between the rows of x that it meets and upstream."""
    channels, (_, height, width, filters) = x.shape[-1], upstream.shape
    # The height in front, in blocks of `stride`: what a row of the kernel meets lies together in
    # memory. Of the width, the three pixels that each place of the result meets.
    near, far = int(padding == "SAME"), 1
    x = tf.pad(tf.transpose(x, [1, 0, 2, 3]), [(near, far), (0, 0), (near, far), (0, 0)])
    more = 2 // stride
    x = tf.reshape(x, [height + more, stride, -1, stride * (width + more), channels])
    met_by_each = [stride * place + column for place in range(width) for column in range(3)]
    columns = tf.gather(x, met_by_each, axis=3)
    upstream = tf.reshape(tf.transpose(upstream, [1, 0, 2, 3]), [-1, filters])
    rows = []
    for row in range(3):
        block, place = divmod(row, stride)
        met = tf.reshape(columns[block : block + height, place], [-1, 3 * channels])
        rows.append(tf.matmul(met, upstream, transpose_a=True))
    return tf.reshape(tf.stack(rows), [3, 3, channels, filters])
