"""The workers of a run: which of them this process is, and what they agree on between steps."""

import json
import os
import zlib
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import NamedTuple

import numpy as np

from wrn3d.distributed.cluster import expecting_workers, join
from wrn3d.system.checks import require
from wrn3d.system.errors import UsageError, reason


class WorkerRank(NamedTuple):
    """A process's number among the `count` workers of a run, what says so, and how many of them
    this machine is known to have."""

    rank: int = 0
    world_size: int = 1
    source: str = ""
    local_count: int = 1


def find_rank(variables=os.environ) -> WorkerRank:
    """What TF_CONFIG says, as Kubernetes's operators set it, or SLURM's variables.

    Raises UsageError for a TF_CONFIG that describes no cluster of workers with this process in it.
    """
    if variables.get("TF_CONFIG"):
        return _in_cluster(variables["TF_CONFIG"])
    if "SLURM_PROCID" in variables and int(variables.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return WorkerRank(
            int(variables["SLURM_PROCID"]), int(variables["SLURM_STEP_NUM_TASKS"]), "SLURM"
        )
    return WorkerRank()


def leave_others():
    """From now on this process, and what it starts, is the only worker, whatever started it."""
    for name in ("TF_CONFIG", "SLURM_PROCID"):
        os.environ.pop(name, None)


def _in_cluster(text):
    try:
        found = json.loads(text)
        cluster = {
            kind: [str(address) for address in addresses]
            for kind, addresses in found.get("cluster", {}).items()
        }
        if not cluster:
            return WorkerRank()
        kind, index = found["task"]["type"], int(found["task"]["index"])
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UsageError(f"TF_CONFIG describes no cluster ({reason(error)})") from error
    places = [
        (kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, [])))
    ]
    require(
        set(cluster) <= {"chief", "worker"} and len(cluster.get("chief", [])) < 2,
        f"TF_CONFIG has a cluster of {', '.join(cluster)}: a run has workers, and perhaps one "
        "chief",
    )
    require(
        (kind, index) in places,
        f"TF_CONFIG makes this process {kind} {index}, which is not in its cluster",
    )
    hosts = [cluster[kind][index].rpartition(":")[0] for kind, index in places]
    place = places.index((kind, index))
    return WorkerRank(place, len(places), "TF_CONFIG", hosts.count(hosts[place]))


def part(total, index, count) -> slice:
    """Part `index` of `count` of a row of `total`: as long as any other, or one more or less."""
    return slice(total * index // count, total * (index + 1) // count)


def check_workers(batch_size, count):
    """Raise UsageError for a batch that has no image for each of `count` workers."""
    require(
        batch_size >= count,
        f"a batch of {batch_size} has no image for each of the {count} "
        f"workers: make batch_size {count} or more, or start fewer",
    )


class Worker:
    """The only one of a run: it has each batch for itself, and agrees with itself."""

    index, count = 0, 1

    def rows(self, total) -> slice:
        """Those of a batch of `total` that are this worker's."""
        return part(total, self.index, self.count)

    def shared(self, function):
        """The function, before it is traced, as one worker among several has to trace it."""
        return function

    def step(self, total):
        """A context in which such functions are called for a batch of `total`."""
        return nullcontext()

    def sum(self, arrays) -> list:
        """Every worker's arrays, of the same shapes and one type, summed; what they are, alone."""
        return arrays

    def all_max(self, number) -> int:
        """The greatest of the numbers that the workers bring along."""
        return number

    def broadcast(self, arrays) -> list:
        """The first worker's arrays, where all bring some of the same shapes and types, of four or
        eight bytes."""
        return arrays

    def check_same_everywhere(self, what):
        """Raise UsageError unless all bring the same text."""


class SharingWorker(Worker):
    """One of several, in a cluster that is joined. Raises WorkerError where another is gone."""

    def __init__(self, rank, synchronised, single_depth):
        from wrn3d.distributed import collectives

        self.index, self.count, self.in_step = rank.rank, rank.world_size, False
        with expecting_workers(self.index, self.count):
            join(rank.source, synchronised)
        self.share = collectives.Shard(self.count, synchronised, single_depth)

    def shared(self, function):
        from wrn3d.distributed import collectives

        def with_share(*arguments):
            require(self.in_step, "model.fit knows nothing of other workers: call env.step")
            with collectives.tracing_for(self.share):
                return function(*arguments)

        return with_share

    @contextmanager
    def step(self, total):
        self.share.first.assign(np.asarray(self.rows(total).start, np.int64))
        self.share.total.assign(np.asarray(total, np.int64))
        self.in_step = True
        try:
            with expecting_workers(self.index, self.count):
                yield
        finally:
            self.in_step = False

    def sum(self, arrays):
        arrays = [np.asarray(array) for array in arrays]
        message = self._reduced(np.concatenate([array.ravel() for array in arrays]), "Add")
        ends = np.cumsum([array.size for array in arrays])
        return [
            piece.reshape(array.shape)
            for piece, array in zip(np.split(message, ends[:-1]), arrays, strict=True)
        ]

    def all_max(self, number):
        return int(self._reduced(np.asarray(number, np.int64), "Max"))

    def broadcast(self, arrays):
        # As whole numbers, to which zeros can be added without a change of a bit.
        words = [np.ascontiguousarray(array).view(np.int32) for array in arrays]
        found = self.sum(words if self.index == 0 else map(np.zeros_like, words))
        return [bits.view(array.dtype) for bits, array in zip(found, arrays, strict=True)]

    def check_same_everywhere(self, what):
        number = zlib.crc32(what.encode())
        require(
            self.all_max(number) == -self.all_max(-number),
            "the workers have different settings "
            "or data: start all with the same flags on the same files",
        )

    def _reduced(self, array, how):
        import tensorflow as tf

        with expecting_workers(self.index, self.count):
            reduce = _reduction(self.count, array.shape, array.dtype, how)
            return reduce(tf.convert_to_tensor(array)).numpy()


@cache
def _reduction(count, shape, dtype, how):
    """A function that reduces every worker's array of such a kind; the workers ask for the same
    kinds in the same order, so that their keys are the same."""
    import tensorflow as tf

    from wrn3d.distributed import collectives

    key = collectives.first_key()
    return tf.function(
        lambda array: collectives.reduce_over(count, array, key, how), autograph=False
    ).get_concrete_function(tf.TensorSpec(shape, dtype))


def find_worker(synchronised=True, single_depth=True) -> Worker:
    """This process's, joined with the others where there are any; call it before anything is
    computed. Raises what `find_rank` does, and WorkerError."""
    rank = find_rank()
    return SharingWorker(rank, synchronised, single_depth) if rank.world_size > 1 else Worker()
