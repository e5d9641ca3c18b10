"""Sums over several workers inside a traced graph.

Every worker trains the same network on its rows of the batch. While a function is traced inside
`tracing_for`, `ops` and `optimizer` sum over the workers what concerns the whole batch, and
`convolution` orders its gradients so that they can be sent early. Outside it there is one worker,
and nothing is summed.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count as counter
from weakref import WeakKeyDictionary

import tensorflow as tf

GROUP = 3000  # by which TensorFlow knows the workers as those that sum
MOST_SUMS = 10_000  # in a function
_current = ContextVar("share", default=None)
_blocks = counter(1)


def first_key() -> int:
    """The first of MOST_SUMS keys that no other sum of this process has, since TensorFlow keeps a
    key's type and shape for good. Every worker asks for the same ones in the same order."""
    return next(_blocks) * MOST_SUMS


class Shard:
    """One worker's share of each batch: `first` is its first row, `total` how many all have.

    Both are variables, so that batches of another length need no other graph. Batch norm goes over
    the batch if `synchronised`, else over each worker's rows; of the kernels only the centre slices
    are sent if `single_depth`, since the others' gradients are zero.
    """

    def __init__(self, count, synchronised, single_depth):
        self.count, self.synchronised, self.single_depth = count, synchronised, single_depth
        self.first = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.total = tf.Variable(0, dtype=tf.int64, trainable=False)
        # What sums wait for: each other. Gradients' wait for each other alone; not on GPUs, since
        # NCCL needs all of them in one order.
        self._gradients, self._others = (tf.Variable(0.0, trainable=False) for _ in range(2))
        self._on_gpus = bool(tf.config.list_physical_devices("GPU"))
        if self._on_gpus:
            self._others = self._gradients
        self._key, self._sums = first_key(), WeakKeyDictionary()
        self._last_kernel_gradients = WeakKeyDictionary()  # names, since tensors keep their graph

    def sum(self, array):
        """Of every worker's small array, of the same shape; each has the same result, bit by bit.

        Without GPUs each has all the others' arrays and adds them up itself: that takes half as
        many messages, one after the other, as a ring that sums.
        """
        key, token = self._next_key(), [self._others.handle]
        if self._on_gpus:
            return reduce_over(self.count, array, key, "Add", token)
        return tf.reduce_sum(gather_from(self.count, array, key, token), 0)

    def sum_gradients(self, array):
        """The same of a large array, beside the others."""
        return reduce_over(self.count, array, self._next_key(), "Add", [self._gradients.handle])

    def _next_key(self):
        # The same place in the same function everywhere: how often which worker has traced it, for
        # other lengths of its rows, does not matter.
        graph = tf.compat.v1.get_default_graph()
        number = self._sums.get(graph, 0)
        self._sums[graph] = number + 1
        return self._key + number

    def after_later_layer(self, of_x, of_kernel):
        """The gradients of a convolution, as they are: that of x is handed on when the kernel's of
        the convolution that was traced before, a later layer, is there."""
        if tf.executing_eagerly():  # in the order in which it is written
            return of_x, of_kernel
        graph = tf.compat.v1.get_default_graph()
        before = self._last_kernel_gradients.get(graph)
        self._last_kernel_gradients[graph] = of_kernel.op.name
        with tf.control_dependencies([graph.get_operation_by_name(before)] if before else []):
            return tf.identity(of_x), of_kernel


def reduce_over(count, array, key, how, token=()):
    """Of `count` workers' arrays: by NCCL where they lie on GPUs, by TensorFlow's own ring over
    gRPC where not, whatever the hint says."""
    # Without timeout_seconds, for which each sum would leave a thread behind.
    return tf.raw_ops.CollectiveReduceV2(
        input=array,
        group_size=count,
        group_key=GROUP,
        instance_key=key,
        ordering_token=token,
        merge_op=how,
        final_op="Id",
        communication_hint="nccl",
    )


def gather_from(count, array, key, token):
    """(count, ...): the arrays of `count` workers, in their order."""
    gathered = tf.raw_ops.CollectiveGatherV2(
        input=array[tf.newaxis],
        group_size=count,
        group_key=GROUP,
        instance_key=key,
        ordering_token=token,
    )
    return tf.ensure_shape(gathered, (count, *array.shape))


@contextmanager
def tracing_for(share):
    """A context in which functions are traced for a share of the batch."""
    token = _current.set(share)
    try:
        yield
    finally:
        _current.reset(token)


def current_shard():
    """The Shard that a function is being traced for; None for all of the batch."""
    return _current.get()


def batch_mean(numbers):
    """The mean over the samples (N,): this worker's part of it, where it has but a share."""
    share = current_shard()
    if share is None:
        return tf.reduce_mean(numbers)
    return tf.reduce_sum(numbers) / tf.cast(share.total, numbers.dtype)


def kernel_gradient_soon(x, kernel):
    """Both, as they are. TensorFlow would leave the kernels' gradients, for which no layer waits,
    to the end, and nothing could be sent before. Here each is there at the latest when the next
    convolution hands its gradient of x on. So it can be computed while batch norm between the two
    waits for the other workers."""
    share = current_shard()
    if share is None:
        return x, kernel

    @tf.custom_gradient
    def as_they_are(x, kernel):
        return (tf.identity(x), tf.identity(kernel)), share.after_later_layer

    return as_they_are(x, kernel)
