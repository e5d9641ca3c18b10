"""Join TensorFlow's cluster of workers, and report a lost worker."""

import os
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import tensorflow as tf

from wrn3d.distributed.patience import AGAIN, limited_wait
from wrn3d.distributed.peers import Peers
from wrn3d.distributed.rendezvous import meet
from wrn3d.distributed.workers import WorkerRank, numbered_tasks, slurm_error
from wrn3d.system.errors import UsageError, WorkerError, reason
from wrn3d.system.machine import usable_cores

# Words in TensorFlow's errors about another worker. The type alone does not tell: an error of this
# worker's own may have the same one.
OTHERS = ("collective", "coordination", "heartbeat", "peer", "connect", "socket", "grpc")
SERVER = "Could not start gRPC server"
TWICE = "different incarnation"  # another process has this worker's number

_strategies: list[tf.distribute.Strategy] = []  # kept: it holds the cluster together


@contextmanager
def expecting_workers(peers: Peers) -> Iterator[None]:
    """Turn the loss of another worker into a WorkerError that names it.

    Ends the process if the wait is too long, or if a signal asks for it.
    """
    try:
        with limited_wait(peers):
            yield
    except tf.errors.OpError as error:
        text = str(error)
        if isinstance(error, tf.errors.ResourceExhaustedError) or not any(
            word in text.lower() for word in OTHERS
        ):
            raise
        if SERVER in text:
            raise UsageError(
                f"{peers.names([peers.index])} cannot listen at its address: give each worker a "
                "free port of its own"
            ) from error
        if TWICE in text and peers.index in peers.named_in(text):
            raise UsageError(
                f"two processes are {peers.names([peers.index])}: give each worker a number of its "
                "own"
            ) from error
        lost = [number for number in peers.named_in(text) if number != peers.index]
        raise WorkerError(
            f"worker {peers.index} cannot continue without {peers.names(lost or peers.others)}, "
            f"which was lost or does not answer: {AGAIN}"
        ) from error


def join(peers: Peers, source: str, synchronised: bool) -> None:
    """Join the cluster and wait for the other workers; later calls do nothing.

    On one core, TensorFlow gets one inter-op thread if batch norm is `synchronised`. That is
    fastest, since the layers wait for each other. Otherwise it gets two, since one thread would
    leave the sums of gradients to the end of a step.

    Raises UsageError if TensorFlow has computed something already, and what `meet` raises.
    """
    if not _strategies:
        meet(peers)
        with expecting_workers(peers):
            _strategies.append(_join(source, threads=1 if synchronised else 2))


def find_peers(rank: WorkerRank) -> Peers:
    """Return all workers of the run. Raises UsageError if SLURM's variables do not name them."""
    cluster = _resolver(rank.source).cluster_spec().as_dict()
    tasks = [
        (f"/job:{kind}/task:{number}", address)
        for (kind, number), address in numbered_tasks(cluster).items()
    ]
    if len(tasks) != rank.world_size:
        raise slurm_error(f"they name {len(tasks)} of {rank.world_size} tasks")
    return Peers(rank.rank, tasks)


def _resolver(source: str) -> tf.distribute.cluster_resolver.ClusterResolver:
    if source == "SLURM":
        return slurm_resolver()
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()


def _join(source: str, threads: int) -> tf.distribute.Strategy:
    try:
        if usable_cores() == 1 and "TF_NUM_INTEROP_THREADS" not in os.environ:
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        return tf.distribute.MultiWorkerMirroredStrategy(_resolver(source))
    except RuntimeError as error:
        if not any(word in str(error) for word in ("startup", "initialization")):
            raise
        raise UsageError(
            "TensorFlow has already computed something in this process, so it cannot join other "
            "workers: make the CNNEnv first"
        ) from error
    finally:
        # TensorFlow has replaced the handler of SIGTERM by one that does nothing: restore Python's.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def slurm_resolver(
    variables: Mapping[str, str] = os.environ,
) -> tf.distribute.cluster_resolver.ClusterResolver:
    """Return a resolver for the tasks of this SLURM step.

    Raises UsageError if SLURM's variables do not describe them.
    """
    # Steps that run on a node at the same time need different ports.
    step = "{SLURM_JOB_ID}.{SLURM_STEP_ID}".format_map(defaultdict(str, variables)).encode()
    try:
        return _SlurmResolver(
            port_base=20_000 + 16 * (crc32(step) % 700),
            gpus_per_node=0,
            gpus_per_task=0,
            auto_set_gpu=False,
        )
    except (ValueError, RuntimeError, KeyError) as error:
        raise slurm_error(reason(error)) from error


class _SlurmResolver(tf.distribute.cluster_resolver.SlurmClusterResolver):
    """Numbers the tasks node by node, as SLURM does; TensorFlow would sort the nodes' names.

    Counts the GPUs that SLURM shows to a task; TensorFlow would ask nvidia-smi.
    """

    def cluster_spec(self) -> tf.train.ClusterSpec:
        self.task_type, self.task_id = "worker", self._rank
        return tf.train.ClusterSpec(
            {
                "worker": [
                    f"{node}:{self._port_base + number}"
                    for node, tasks in self._task_configuration.items()
                    for number in range(tasks)
                ]
            }
        )

    def num_accelerators(self, *arguments: Any, **keywords: Any) -> dict[str, int]:
        return {"GPU": len(tf.config.list_physical_devices("GPU"))}
