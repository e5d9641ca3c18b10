"""One of several workers: the collectives of a Worker over TensorFlow's cluster."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from wrn3d.distributed.cluster import expecting_workers, find_peers, join
from wrn3d.distributed.collectives import Collectives, first_key, reduce_over, sum_in_pairs
from wrn3d.distributed.shards import Sharding
from wrn3d.distributed.workers import Worker, WorkerRank
from wrn3d.system.checks import require


class ClusterWorker(Worker):
    """One worker in a cluster of several. Its methods raise WorkerError if another is lost.

    `of_all` tells how all workers cut a batch in training, `sharding` how this one does alone in
    evaluation.
    """

    def __init__(
        self, rank: WorkerRank, shards: int, synchronised: bool, single_depth: bool
    ) -> None:
        super().__init__(Sharding(shards) if shards > 1 else None)
        self.index, self.count, self.in_step = rank.rank, rank.world_size, False
        self.peers = find_peers(rank)
        join(self.peers, rank.source, synchronised)
        workers = Collectives(self.count, self.index, in_pairs=shards > 1)
        self.in_pairs = workers.in_pairs
        self.of_all = Sharding(max(shards, self.count), synchronised, single_depth, workers)

    def shared(self, function: Callable) -> Callable:
        traced = self.of_all.around(function)

        def in_step(*arguments: Any) -> Any:
            require(self.in_step, "model.fit trains on one worker only: call env.step")
            return traced(*arguments)

        return in_step

    @contextmanager
    def step(self, total: int) -> Iterator[None]:
        self.of_all.first_row.assign(np.asarray(self.rows(total).start, np.int64))
        self.of_all.rows.assign(np.asarray(total, np.int64))
        self.in_step = True
        try:
            with expecting_workers(self.peers):
                yield
        finally:
            self.in_step = False

    def sum(self, arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
        arrays = [np.asarray(array) for array in arrays]
        message = self._reduce(np.concatenate([array.ravel() for array in arrays]))
        ends = np.cumsum([array.size for array in arrays])
        return [
            piece.reshape(array.shape)
            for piece, array in zip(np.split(message, ends[:-1]), arrays, strict=True)
        ]

    def all_max(self, number: int) -> int:
        return int(self._reduce(np.asarray(number, np.int64), largest=True))

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

    def _reduce(self, array: np.ndarray, largest: bool = False) -> np.ndarray:
        with expecting_workers(self.peers):
            index = self.index if self.in_pairs else None
            reduce = _reduction(self.count, index, array.shape, array.dtype, largest)
            return reduce(tf.convert_to_tensor(array)).numpy()


@cache
def _reduction(
    count: int, index: int | None, shape: tuple[int, ...], dtype: np.dtype, largest: bool
) -> Callable:
    """Return a function that sums arrays of one shape and type over the workers, or finds the max.

    Given this worker's `index`, it sums in pairs.

    The workers ask for the same functions in the same order, so their keys are the same.
    """
    key = first_key()

    def reduce(array: tf.Tensor) -> tf.Tensor:
        if largest or index is None:
            return reduce_over(count, array, key, "Max" if largest else "Add")
        return sum_in_pairs(count, index, array, key)

    function = tf.function(reduce, autograph=False)
    return function.get_concrete_function(tf.TensorSpec(shape, dtype))
