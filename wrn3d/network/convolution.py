"""The 3D convolution, computed as a 2D convolution where a volume has depth 1.

Volumes are (N, D, H, W, C), images (N, H, W, C), both with static sides and channels.
"""

from collections.abc import Callable

import tensorflow as tf

from wrn3d.system.tensorflow_setup import has_fast_bfloat16


def conv3d(x: tf.Tensor, kernel: tf.Variable, stride: int = 1) -> tf.Tensor:
    """Convolve x, (N, D, H, W, C) -> (N, ceil(D / stride), ..., F), and keep its precision.

    `kernel` is (k, k, k, C, F) with an odd k, or the slices of it that meet x. The zero padding is
    k // 2 on both sides, as in PyTorch (TensorFlow's 'SAME' pads only one side where the stride is
    2). On a volume of depth 1 the 2D convolution with the kernel's centre slice is exact.
    """
    dtype, x = x.dtype, tf.cast(x, _computing_precision(x))
    kernel = tf.cast(slices_met(kernel, x.shape), x.dtype)
    if x.shape[1] > 1:
        return tf.cast(convolve(x, kernel, stride), dtype)
    y = convolve(tf.squeeze(x, 1), tf.squeeze(kernel, 0), stride)
    return tf.cast(tf.expand_dims(y, 1), dtype)


def slices_met(kernel: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Return the slices of a kernel, (k, k, k, C, F), that meet volumes of this shape.

    For volumes of depth 1 that is the centre slice, (1, k, k, C, F), which may be all there is.
    """
    if shape[1] > 1 or kernel.shape[0] == 1:
        return tf.convert_to_tensor(kernel)
    # A slice, not an index: the gradient of an index takes a tenth of an iteration's time.
    return tf.slice(kernel, [kernel.shape[0] // 2, 0, 0, 0, 0], [1, -1, -1, -1, -1])


def convolve(x: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Convolve images (kernel (k, k, C, F)) or volumes ((k, k, k, C, F)) in the fastest way."""
    sides, windows = x.shape[1:-1], kernel.shape[:-2]
    # With the default format the eager gradient of a 3D convolution fails (TensorFlow 2.21).
    data_format = {2: "NHWC", 3: "NDHWC"}[len(sides)]
    if stride > 1 and windows == [1, 1]:
        x, stride = _subsample(x, stride), 1  # oneDNN would take twice as long in bfloat16
    slow, padding = _has_slow_filter_gradient(x, kernel, stride), "SAME"
    if stride > 1:
        paddings = [_strided_padding(*pair, stride) for pair in zip(sides, windows, strict=True)]
        if any(map(any, paddings)):
            # Not tf.pad: TensorFlow's optimizer would fuse that with a 3D convolution, fail on the
            # gradient, and then leave all of the graph's batch norms and ReLUs unfused.
            zero = tf.zeros([], x.dtype)
            x = tf.raw_ops.PadV2(
                input=x, paddings=[(0, 0), *paddings, (0, 0)], constant_values=zero
            )
        padding = "VALID"
    if slow:
        return _convolve_by_products(x, kernel, stride, padding)
    return tf.nn.convolution(x, kernel, stride, padding, data_format)


def _subsample(x: tf.Tensor, stride: int) -> tf.Tensor:
    """Return every `stride`-th row and column: (N, H, W, C) -> (N, ceil(H / stride), ..., C).

    A strided slice would take ten times as long. So the blocks of stride x stride pixels become
    axes, and a plain slice takes the first pixel of each block.
    """
    _, height, width, channels = x.shape
    far = [-side % stride for side in (height, width)]
    if any(far):
        x = tf.pad(x, [(0, 0), *((0, more) for more in far), (0, 0)])
    rows, columns = (-(-side // stride) for side in (height, width))
    x = tf.reshape(x, [-1, rows, stride, columns, stride * channels])
    x = tf.slice(x, [0] * 5, [-1, rows, 1, columns, channels])
    return tf.reshape(x, [-1, rows, columns, channels])


def _strided_padding(side: int, window: int, stride: int) -> tuple[int, int]:
    """Return how many zeros of the symmetric padding the windows read: (near, far)."""
    near = window // 2
    last_window_start = (side + 2 * near - window) // stride * stride
    return near, max(0, last_window_start + window - near - side)


def _computing_precision(x: tf.Tensor) -> tf.DType:
    """Return x's precision, or float32 where bfloat16 would be slow or wrong.

    Slow: on a device without bfloat16 instructions TensorFlow's gradients take 15 to 30 times as
    long, and sum in bfloat16. Wrong: on volumes with sides of 1 and 2 oneDNN 3.7 may leave parts of
    the filter gradient unwritten (seen on CPUs with AVX512_BF16). To be safe, sides up to 3 count
    as small, on every device; such volumes cost little time.
    """
    small_volume = x.shape[1] > 1 and min(x.shape[1:-1]) < 4
    unsuited = small_volume or not has_fast_bfloat16()
    return tf.float32 if x.dtype == tf.bfloat16 and unsuited else x.dtype


def _has_slow_filter_gradient(x: tf.Tensor, kernel: tf.Tensor, stride: int) -> bool:
    """Return whether matrix products are faster than oneDNN 3.7's bfloat16 filter gradient.

    oneDNN falls to half its speed on many channels of few pixels (640 channels of 8x8: 47 ms
    against 20 ms; with stride 2, 128 channels of 16x16: 38 ms against 19 ms). The rule fits
    measurements of 25 shapes on two AMX cores. It applies to GPUs too, though they may not need it.
    """
    *windows, channels, filters = kernel.shape
    return (
        x.dtype == tf.bfloat16
        and windows == [3, 3]
        and stride <= 2
        and min(channels, filters) ** 2 * stride**3 >= 100 * x.shape[1] * x.shape[2]
    )


def _convolve_by_products(x: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    """Return the 3x3 convolution, (N, H, W, C) -> (N, h, w, F).

    Its filter gradient is computed by three matrix products.
    """

    @tf.custom_gradient
    def with_products(
        x: tf.Tensor, kernel: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[..., tuple[tf.Tensor, ...]]]:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            input_gradient = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(x), stride, padding)
            return input_gradient, _filter_gradient(x, upstream, stride, padding)

        return tf.nn.conv2d(x, kernel, stride, padding), gradients

    return with_products(x, kernel)


def _filter_gradient(x: tf.Tensor, upstream: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    """Return the gradient (3, 3, C, F), given x (N, H, W, C) and upstream (N, h, w, F).

    Each row of the kernel takes one matrix product: the rows of x under it times `upstream`.
    """
    channels, (_, height, width, filters) = x.shape[-1], upstream.shape
    near, far = int(padding == "SAME"), 1
    # The height becomes the first axis, in blocks of `stride` rows: (blocks, stride, N, width, C).
    # That makes the rows of x under a row of the kernel contiguous in memory.
    x = tf.pad(tf.transpose(x, [1, 0, 2, 3]), [(near, far), (0, 0), (near, far), (0, 0)])
    extra = 2 // stride  # blocks of padding
    x = tf.reshape(x, [height + extra, stride, -1, stride * (width + extra), channels])
    # For each column of the result, the three columns of x under the kernel.
    under_kernel = [stride * column + offset for column in range(width) for offset in range(3)]
    columns = tf.gather(x, under_kernel, axis=3)
    upstream = tf.reshape(tf.transpose(upstream, [1, 0, 2, 3]), [-1, filters])
    rows = []
    for row in range(3):
        block, offset = divmod(row, stride)
        inputs = tf.reshape(columns[block : block + height, offset], [-1, 3 * channels])
        rows.append(tf.matmul(inputs, upstream, transpose_a=True))
    return tf.reshape(tf.stack(rows), [3, 3, channels, filters])
