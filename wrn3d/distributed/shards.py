"""Cut a batch into shards, and add up what concerns the whole batch in a fixed binary tree.

A shard is computed by ops of its own. A worker holds consecutive shards, a subtree; then the
workers add up their sums (`collectives`). So a sum does not depend on the number of workers.

Functions are traced inside `Sharding.around`. Then the network, the loss and the optimizer find the
Sharding by `current_sharding`; elsewhere a batch is computed as a whole.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

import tensorflow as tf

from wrn3d.distributed.collectives import Collectives, tree_sum
from wrn3d.distributed.workers import part

_current: ContextVar["Sharding | None"] = ContextVar("sharding", default=None)


def current_sharding() -> "Sharding | None":
    """Return the Sharding that a function is being traced for; None stands for the whole batch."""
    return _current.get()


class Sharding:
    """The `count` shards of each batch; this worker computes `local` of them.

    `workers` is None if there is only one. Then `first_row` and `rows` are not needed; else they
    are variables with the worker's first row and the batch's rows, so that batches of another
    length need no new graph.

    Batch norm covers the whole batch if `synchronised`, else each shard. If `single_depth`, workers
    send only the centre slices of the kernels' gradients, since the other slices are zero.
    """

    def __init__(
        self,
        count: int,
        synchronised: bool = True,
        single_depth: bool = False,
        workers: Collectives | None = None,
    ) -> None:
        self.count, self.synchronised, self.single_depth = count, synchronised, single_depth
        self.workers, self.local = workers, count // workers.count if workers else count
        if workers:
            self.first_row, self.rows = (
                tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(2)
            )
        # Names, since a tensor would keep its graph alive.
        self._last_kernel_gradients: WeakKeyDictionary[tf.Graph, dict[int, str]] = (
            WeakKeyDictionary()
        )

    def around(self, function: Callable) -> Callable:
        """Return `function` so that tracing it computes each batch in these shards."""

        @wraps(function)
        def traced(*arguments: Any) -> Any:
            token = _current.set(self)
            try:
                return function(*arguments)
            finally:
                _current.reset(token)

        return traced

    def split(self, array: tf.Tensor) -> list[tf.Tensor]:
        """Return this worker's shards of (rows, ...); their lengths differ by 1 at most."""
        if self.local == 1:
            return [array]
        rows = tf.shape(array)[0]
        bounds = [part(rows, place, self.local) for place in range(self.local)]
        lengths = tf.stack([bound.stop - bound.start for bound in bounds])
        return tf.split(array, lengths, num=self.local)

    def first_rows(self, shards: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the place in the batch of the first row of each shard, scalars int64."""
        first = tf.cumsum(self.lengths(shards), exclusive=True)
        return tf.unstack(first + self.first_row if self.workers else first)

    def lengths(self, shards: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the rows of each shard, (local,) int64."""
        lengths = tf.stack([tf.shape(shard, tf.int64)[0] for shard in shards])
        # No constant, even if the rows are known: TensorFlow reorders products with a constant,
        # differently in each front end.
        return tf.raw_ops.PlaceholderWithDefault(input=lengths, shape=lengths.shape)

    def total(self, shards: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the rows of the whole batch, a scalar int64; `shards` are this worker's."""
        if self.workers:
            return self.rows.read_value()
        return tf.reduce_sum(self.lengths(shards))

    def shares(self, shards: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the share of the batch's rows that each of this worker's shards has, float64."""
        return self.lengths(shards) / self.total(shards)

    def copies(self, array: tf.Tensor) -> list[tf.Tensor]:
        """Return the array once for each of this worker's shards.

        The gradients of the copies are added in the tree; a tape would add them one by one.
        """
        if self.local == 1:
            return [array]

        @tf.custom_gradient
        def copied(array: tf.Tensor) -> tuple:
            copies = [tf.identity(array) for _ in range(self.local)]
            return copies, lambda *upstream: tree_sum(tf.stack(upstream))

        return copied(array)

    def over_workers(self, array: tf.Tensor) -> tf.Tensor:
        """Sum a small array over the workers."""
        return self.workers.sum(array) if self.workers else array

    def sum(self, stack: tf.Tensor) -> tf.Tensor:
        """Sum (local, ...), a small array from each shard, over all shards of the batch."""
        return self.over_workers(tree_sum(stack))

    def mean(self, numbers: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return this worker's part of the batch's mean; `numbers` has (rows,) of each shard."""
        total = tf.cast(self.total(numbers), numbers[0].dtype)
        return tree_sum(tf.stack([tf.reduce_sum(shard) for shard in numbers]) / total)

    def kernel_gradient_soon(
        self, x: tf.Tensor, kernel: tf.Tensor, place: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return both unchanged, but have the kernel's gradient computed early, for other workers.

        No layer waits for a kernel's gradient, so TensorFlow would leave all of them to the end,
        and none could be sent earlier. Here the convolution of the layer before passes its gradient
        of x on only after this kernel's gradient. That one can be computed while the batch norm
        between the two layers waits for the other workers. `place` numbers this worker's shards.
        """
        if not self.workers:
            return x, kernel

        def after_later_layer(x_gradient: tf.Tensor, kernel_gradient: tf.Tensor) -> tuple:
            # The backward pass starts at the last layer, so the kernel gradient that was traced
            # before belongs to a later layer.
            if tf.executing_eagerly():  # eager ops run in the order of the code
                return x_gradient, kernel_gradient
            graph = tf.compat.v1.get_default_graph()
            last = self._last_kernel_gradients.setdefault(graph, {})
            before = [graph.get_operation_by_name(last[place])] if place in last else []
            last[place] = kernel_gradient.op.name
            with tf.control_dependencies(before):
                return tf.identity(x_gradient), kernel_gradient

        @tf.custom_gradient
        def unchanged(x: tf.Tensor, kernel: tf.Tensor) -> tuple:
            return (tf.identity(x), tf.identity(kernel)), after_later_layer

        return unchanged(x, kernel)
