"""Sum over several workers inside a traced graph.

In a binary tree the order is fixed: 0 and 1, 2 and 3, then the pairs' sums, and so on. A sum of two
numbers has the same bits in either order. So a tree's sum is the same in all workers, and it does
not depend on how many terms a worker has added already, if these are a subtree.
"""

from collections.abc import Sequence
from itertools import count as counter
from weakref import WeakKeyDictionary

import tensorflow as tf

GROUP = 3000  # TensorFlow's key of the group of all workers; those of pairs follow
MOST_SUMS = 10_000  # per function
_blocks = counter(1)


def first_key() -> int:
    """Return the first of MOST_SUMS consecutive keys that this process has not used yet.

    TensorFlow ties each key to one type and shape for good. Every worker asks for the same keys in
    the same order.
    """
    return next(_blocks) * MOST_SUMS


def tree_sum(stack: tf.Tensor) -> tf.Tensor:
    """Add the arrays of a stack, (n, ...) -> (...), in a binary tree: neighbours first.

    The shape is static. TensorFlow's graph optimiser would add tensors one after the other, however
    they are nested; it leaves reductions alone.
    """
    while (count := stack.shape[0]) > 1:
        if count % 2:
            stack = tf.pad(stack, [(0, 1), *[(0, 0)] * (len(stack.shape) - 1)])
        stack = tf.reduce_sum(tf.reshape(stack, [-1, 2, *stack.shape[1:]]), 1)
    return tf.squeeze(stack, 0)


class Collectives:
    """Sums over `count` workers; `index` is this worker's number.

    Large arrays are summed in a ring, or `in_pairs`: in a tree, which takes a power of two workers
    and sends more if they are more than two.
    """

    def __init__(self, count: int, index: int, in_pairs: bool = False) -> None:
        self.count, self.index = count, index
        # Ordering tokens: sums of gradients wait only for each other, and so do the other sums. On
        # GPUs all sums share one token, since NCCL needs a single order.
        self._gradients, self._others = (tf.Variable(0.0, trainable=False) for _ in range(2))
        self._on_gpus = bool(tf.config.list_physical_devices("GPU"))
        self.in_pairs = in_pairs and not self._on_gpus  # NCCL has an order of its own
        if self._on_gpus:
            self._others = self._gradients
        self._key = first_key()
        self._sums: WeakKeyDictionary[tf.Graph, int] = WeakKeyDictionary()

    def sum(self, array: tf.Tensor) -> tf.Tensor:
        """Sum a small array over the workers, with the same bits in each of them.

        Without GPUs each worker gathers all arrays and adds them up. That takes fewer consecutive
        messages than adding on the way.
        """
        key, token = self._next_key(), [self._others.handle]
        if self._on_gpus:
            return reduce_over(self.count, array, key, "Add", token)
        return tree_sum(gather_from(self.count, array, key, token))

    def sum_large(self, array: tf.Tensor) -> tf.Tensor:
        """Sum a large array of gradients over the workers, in parallel with the small sums."""
        token = [self._gradients.handle]
        if not self.in_pairs:
            return reduce_over(self.count, array, self._next_key(), "Add", token)
        return sum_in_pairs(self.count, self.index, array, self._next_key(), token)

    def _next_key(self) -> int:
        # Counted for each graph: one worker may trace a function more often than another, for other
        # numbers of rows. The n-th sum of a function has the same key in all these graphs.
        graph = tf.compat.v1.get_default_graph()
        number = self._sums.get(graph, 0)
        self._sums[graph] = number + 1
        return self._key + number


def sum_in_pairs(
    count: int, index: int, array: tf.Tensor, key: int, token: Sequence[tf.Tensor] = ()
) -> tf.Tensor:
    """Sum an array over `count` workers, a power of two; `index` is this worker's number.

    At each level of the tree, workers exchange and add their sums in pairs.
    """
    distance = 1
    while distance < count:
        first = index & ~distance  # the lower number of the pair
        group = GROUP + distance * MOST_SUMS + first
        array = reduce_over(2, array, key, "Add", token, group)
        distance *= 2
    return array


def reduce_over(
    count: int,
    array: tf.Tensor,
    key: int,
    operation: str,
    token: Sequence[tf.Tensor] = (),
    group: int = GROUP,
) -> tf.Tensor:
    """Reduce an array over the `count` workers of a group by "Add" or "Max".

    On GPUs it uses NCCL. On CPUs TensorFlow uses its own ring over gRPC, whatever the hint.
    """
    # Without timeout_seconds: with it each sum would leave a thread behind.
    return tf.raw_ops.CollectiveReduceV2(
        input=array,
        group_size=count,
        group_key=group,
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
