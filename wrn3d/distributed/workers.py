"""Find this process's rank among a run's workers, and define what workers do together.

Every worker trains the same network on its own rows of each batch. Between steps the workers agree
through the collectives of a Worker.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from wrn3d.system.checks import require
from wrn3d.system.errors import UsageError, quoted, reason


class WorkerRank(NamedTuple):
    """A process's rank among the `world_size` workers of a run.

    `source` says where the rank comes from: TF_CONFIG, SLURM, or "" without a cluster.
    `local_count` is the number of workers known to share this machine.
    """

    rank: int = 0
    world_size: int = 1
    source: str = ""
    local_count: int = 1


def find_rank(variables: Mapping[str, str] = os.environ) -> WorkerRank:
    """Read the rank from TF_CONFIG, which Kubernetes's operators set, or from SLURM's variables.

    Raises UsageError if they do not describe a cluster with this process in it.
    """
    if variables.get("TF_CONFIG"):
        return _rank_in_cluster(variables["TF_CONFIG"])
    if "SLURM_PROCID" in variables and "SLURM_STEP_NUM_TASKS" in variables:
        return _rank_in_step(variables["SLURM_PROCID"], variables["SLURM_STEP_NUM_TASKS"])
    return WorkerRank()


def numbered_tasks(cluster: Mapping[str, Sequence[str]]) -> dict[tuple[str, int], str]:
    """Return {(type, index): address} of a cluster's tasks, in the order of the workers' ranks."""
    return {
        (kind, index): address
        for kind in ("chief", "worker")
        for index, address in enumerate(cluster.get(kind, []))
    }


def slurm_error(what: str) -> UsageError:
    """Return the error for SLURM's variables that do not number the workers."""
    return UsageError(
        f"SLURM's variables do not describe the workers ({what}): give each of them a TF_CONFIG "
        "instead"
    )


def leave_others() -> None:
    """Make this process, and those that it starts, a run of one worker each."""
    for name in ("TF_CONFIG", "SLURM_PROCID"):
        os.environ.pop(name, None)


def part(total: int, index: int, count: int) -> slice:
    """Return slice `index` of `total` items cut into `count`; the lengths differ by 1 at most."""
    return slice(total * index // count, total * (index + 1) // count)


def check_workers(batch_size: int, count: int, shards: int = 1) -> None:
    """Raise UsageError unless `count` workers can share a batch that is cut into `shards`."""
    require(
        batch_size >= count,
        f"a batch of {batch_size} has no image for each of the {count} "
        f"workers: make batch_size {count} or more, or start fewer",
    )
    require(
        batch_size % shards == 0,
        f"a batch of {batch_size} cannot be cut into {shards} equal shards: make batch_size a "
        f"multiple of {shards}, or change shards",
    )
    require(
        shards == 1 or shards % count == 0,
        f"{count} workers cannot share {shards} shards: start a power of two, at most {shards}, or "
        "change shards",
    )


class Worker:
    """The single-process case: every collective is the identity.

    `sharding`, a shards.Sharding, tells how each batch is cut; None stands for one shard.
    """

    index, count = 0, 1

    def __init__(self, sharding: Any = None) -> None:
        self.sharding = sharding

    def rows(self, total: int) -> slice:
        """Return this worker's rows of a batch of `total` rows."""
        return part(total, self.index, self.count)

    def shared(self, function: Callable) -> Callable:
        """Return `function` so that tracing it builds this worker's part of the computation."""
        return self.in_shards(function)

    def in_shards(self, function: Callable) -> Callable:
        """Return `function` so that tracing it computes all shards of a batch in this worker."""
        return self.sharding.around(function) if self.sharding else function

    def step(self, total: int) -> AbstractContextManager[None]:
        """Return a context for calling `shared` functions on a batch of `total` rows."""
        return nullcontext()

    def sum(self, arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Sum each array over the workers. All pass the same shapes, and one type."""
        return list(arrays)

    def all_max(self, number: int) -> int:
        """Return the greatest of the workers' numbers."""
        return number

    def broadcast(self, arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Return the first worker's arrays. All pass the same shapes and types of 4 or 8 bytes."""
        return list(arrays)

    def check_same_everywhere(self, text: str) -> None:
        """Raise UsageError unless all workers pass the same text."""


def _rank_in_step(rank: str, count: str) -> WorkerRank:
    are_numbers = all(re.fullmatch("[0-9]{1,9}", text) for text in (rank, count))
    if not (are_numbers and int(rank) < int(count)):
        raise slurm_error(
            f"SLURM_PROCID is {quoted(rank)}, SLURM_STEP_NUM_TASKS is {quoted(count)}"
        )
    return WorkerRank(int(rank), int(count), "SLURM") if int(count) > 1 else WorkerRank()


def _rank_in_cluster(text: str) -> WorkerRank:
    try:
        config = json.loads(text)
        cluster = {
            kind: [str(address) for address in addresses]
            for kind, addresses in config.get("cluster", {}).items()
        }
        if not cluster:
            return WorkerRank()
        task = str(config["task"]["type"]), int(config["task"]["index"])
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        OverflowError,
        RecursionError,
    ) as error:
        raise UsageError(f"TF_CONFIG does not describe a cluster ({reason(error)})") from error
    require(
        set(cluster) <= {"chief", "worker"} and len(cluster.get("chief", [])) < 2,
        f"TF_CONFIG has a cluster of {', '.join(cluster)}, but a run has workers and at most one "
        "chief",
    )
    addresses = numbered_tasks(cluster)
    require(
        task in addresses,
        f"TF_CONFIG makes this process {task[0]} {task[1]}, which is not in its cluster",
    )
    if len(addresses) > 1:
        _check_addresses([*addresses.values()])
    hosts = [address.rpartition(":")[0] for address in addresses.values()]
    rank = list(addresses).index(task)
    return WorkerRank(rank, len(addresses), "TF_CONFIG", hosts.count(hosts[rank]))


def _check_addresses(addresses: Sequence[str]) -> None:
    for index, address in enumerate(addresses):
        match = re.fullmatch(r"[^\s/]+:([0-9]{1,5})", address)
        require(
            match and 0 < int(match[1]) < 65536,
            f"TF_CONFIG gives worker {index} the address {quoted(address)}: write a host and a "
            "port, such as 10.0.0.1:2222",
        )
        first = addresses.index(address)
        require(
            first == index,
            f"TF_CONFIG gives workers {first} and {index} the same address {quoted(address)}: give "
            "each of them a port of its own",
        )
