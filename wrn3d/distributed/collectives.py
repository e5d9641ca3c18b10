"""Sum over several workers inside a traced graph.

Every worker trains the same network on its rows of the batch. While a function is traced inside
`tracing_for`, the network's ops and the optimizer all-reduce the quantities of the whole batch, and
`convolution` orders its gradients so that they can be sent early. Outside `tracing_for` there is
one worker, and nothing is summed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count as counter
from weakref import WeakKeyDictionary

import tensorflow as tf

GROUP = 3000  # TensorFlow's key of the group of workers
MOST_SUMS = 10_000  # per function
_current: ContextVar["Shard | None"] = ContextVar("shard", default=None)
_blocks = counter(1)


def first_key() -> int:
    """Return the first of MOST_SUMS consecutive keys that this process has not used yet.

    TensorFlow ties each key to one type and shape for good. Every worker asks for the same keys in
    the same order.
    """
    return next(_blocks) * MOST_SUMS


class Shard:
    """One worker's rows of each batch: `first` is its first row, `total` the global batch size.

    Both are variables, so that batches of another length need no new graph. Batch norm covers the
    whole batch if `synchronised`, else each worker's rows. If `single_depth`, only the centre
    slices of the kernels' gradients are sent, since the other slices are zero.
    """

    def __init__(self, count: int, synchronised: bool, single_depth: bool) -> None:
        self.count, self.synchronised, self.single_depth = count, synchronised, single_depth
        self.first = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.total = tf.Variable(0, dtype=tf.int64, trainable=False)
        # Ordering tokens: sums of gradients wait only for each other, and so do the other sums. On
        # GPUs all sums share one token, since NCCL needs a single order.
        self._gradients, self._others = (tf.Variable(0.0, trainable=False) for _ in range(2))
        self._on_gpus = bool(tf.config.list_physical_devices("GPU"))
        if self._on_gpus:
            self._others = self._gradients
        self._key = first_key()
        self._sums: WeakKeyDictionary[tf.Graph, int] = WeakKeyDictionary()
        # Names, since a tensor would keep its graph alive.
        self._last_kernel_gradients: WeakKeyDictionary[tf.Graph, str] = WeakKeyDictionary()

    def sum(self, array: tf.Tensor) -> tf.Tensor:
        """Sum a small array over the workers, with the same bits in each of them.

        Without GPUs each worker gathers all arrays and adds them up. That takes half as many
        consecutive messages as a ring.
        """
        key, token = self._next_key(), [self._others.handle]
        if self._on_gpus:
            return reduce_over(self.count, array, key, "Add", token)
        return tf.reduce_sum(gather_from(self.count, array, key, token), 0)

    def sum_large(self, array: tf.Tensor) -> tf.Tensor:
        """Sum a large array of gradients over the workers, in parallel with the small sums."""
        return reduce_over(self.count, array, self._next_key(), "Add", [self._gradients.handle])

    def _next_key(self) -> int:
        # Counted for each graph: one worker may trace a function more often than another, for other
        # numbers of rows. The n-th sum of a function has the same key in all these graphs.
        graph = tf.compat.v1.get_default_graph()
        number = self._sums.get(graph, 0)
        self._sums[graph] = number + 1
        return self._key + number

    def after_later_layer(
        self, x_gradient: tf.Tensor, kernel_gradient: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return a convolution's gradients unchanged, but ordered.

        The gradient of x waits for the kernel gradient that was traced before it. That one belongs
        to a later layer, since the backward pass starts at the last layer.
        """
        if tf.executing_eagerly():  # eager ops run in the order of the code
            return x_gradient, kernel_gradient
        graph = tf.compat.v1.get_default_graph()
        before = self._last_kernel_gradients.get(graph)
        self._last_kernel_gradients[graph] = kernel_gradient.op.name
        with tf.control_dependencies([graph.get_operation_by_name(before)] if before else []):
            return tf.identity(x_gradient), kernel_gradient


def reduce_over(
    count: int, array: tf.Tensor, key: int, operation: str, token: Sequence[tf.Tensor] = ()
) -> tf.Tensor:
    """Reduce an array over `count` workers by "Add" or "Max".

    On GPUs it uses NCCL. On CPUs TensorFlow uses its own ring over gRPC, whatever the hint.
    """
    # Without timeout_seconds: with it each sum would leave a thread behind.
    return tf.raw_ops.CollectiveReduceV2(
        input=array,
        group_size=count,
        group_key=GROUP,
        instance_key=key,
        ordering_token=token,
        merge_op=operation,
        final_op="Id",
        communication_hint="nccl",
    )


def gather_from(count: int, array: tf.Tensor, key: int, token: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the arrays of `count` workers in their order, (count, ...)."""
    gathered = tf.raw_ops.CollectiveGatherV2(
        input=array[tf.newaxis],
        group_size=count,
        group_key=GROUP,
        instance_key=key,
        ordering_token=token,
    )
    return tf.ensure_shape(gathered, (count, *array.shape))


@contextmanager
def tracing_for(shard: Shard) -> Iterator[None]:
    """Trace functions in the context for `shard`."""
    token = _current.set(shard)
    try:
        yield
    finally:
        _current.reset(token)


def current_shard() -> Shard | None:
    """Return the Shard that a function is being traced for; None stands for the whole batch."""
    return _current.get()


def batch_mean(numbers: tf.Tensor) -> tf.Tensor:
    """Return the mean over the samples (N,), or this worker's contribution to it."""
    shard = current_shard()
    if shard is None:
        return tf.reduce_mean(numbers)
    return tf.reduce_sum(numbers) / tf.cast(shard.total, numbers.dtype)


def kernel_gradient_soon(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return both unchanged, but let the kernel's gradient be computed early in the backward pass.

    No layer waits for a kernel's gradient, so TensorFlow would leave all of them to the end, and
    none could be sent earlier. Here the convolution of the layer before passes its gradient of x on
    only after this kernel's gradient. That gradient can be computed while the batch norm between
    the two layers waits for the other workers.
    """
    shard = current_shard()
    if shard is None:
        return x, kernel

    @tf.custom_gradient
    def unchanged(x: tf.Tensor, kernel: tf.Tensor) -> tuple:
        return (tf.identity(x), tf.identity(kernel)), shard.after_later_layer

    return unchanged(x, kernel)
