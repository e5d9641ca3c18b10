"""One of several workers: the collectives of a Worker over TensorFlow's cluster."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from wrn3d.distributed.cluster import expecting_workers, find_peers, join
from wrn3d.distributed.collectives import Shard, first_key, reduce_over, tracing_for
from wrn3d.distributed.workers import Worker, WorkerRank
from wrn3d.system.checks import require


class ClusterWorker(Worker):
    """One worker in a cluster of several. Its methods raise WorkerError if another is lost."""

    def __init__(self, rank: WorkerRank, synchronised: bool, single_depth: bool) -> None:
        self.index, self.count, self.in_step = rank.rank, rank.world_size, False
        self.peers = find_peers(rank)
        join(self.peers, rank.source, synchronised)
        self.shard = Shard(self.count, synchronised, single_depth)

    def shared(self, function: Callable) -> Callable:
        def with_shard(*arguments: Any) -> Any:
            require(self.in_step, "model.fit trains on one worker only: call env.step")
            with tracing_for(self.shard):
                return function(*arguments)

        return with_shard

    @contextmanager
    def step(self, total: int) -> Iterator[None]:
        self.shard.first.assign(np.asarray(self.rows(total).start, np.int64))
        self.shard.total.assign(np.asarray(total, np.int64))
        self.in_step = True
        try:
            with expecting_workers(self.peers):
                yield
        finally:
            self.in_step = False

    def sum(self, arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
        arrays = [np.asarray(array) for array in arrays]
        message = self._reduce(np.concatenate([array.ravel() for array in arrays]), "Add")
        ends = np.cumsum([array.size for array in arrays])
        return [
            piece.reshape(array.shape)
            for piece, array in zip(np.split(message, ends[:-1]), arrays, strict=True)
        ]

    def all_max(self, number: int) -> int:
        return int(self._reduce(np.asarray(number, np.int64), "Max"))

    def broadcast(self, arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
        arrays = list(arrays)
        # As integers, since adding zero to them changes no bit.
        words = [np.ascontiguousarray(array).view(np.int32) for array in arrays]
        sums = self.sum(words if self.index == 0 else map(np.zeros_like, words))
        return [bits.view(array.dtype) for bits, array in zip(sums, arrays, strict=True)]

    def check_same_everywhere(self, text: str) -> None:
        number = zlib.crc32(text.encode())
        require(
            self.all_max(number) == -self.all_max(-number),
            "the workers have different settings "
            "or data: start all with the same flags on the same files",
        )

    def _reduce(self, array: np.ndarray, operation: str) -> np.ndarray:
        with expecting_workers(self.peers):
            reduce = _reduction(self.count, array.shape, array.dtype, operation)
            return reduce(tf.convert_to_tensor(array)).numpy()


@cache
def _reduction(count: int, shape: tuple[int, ...], dtype: np.dtype, operation: str) -> Callable:
    """Return a function that reduces arrays of one shape and type over the workers.

    The workers ask for the same functions in the same order, so their keys are the same.
    """
    key = first_key()
    return tf.function(
        lambda array: reduce_over(count, array, key, operation), autograph=False
    ).get_concrete_function(tf.TensorSpec(shape, dtype))
