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

from wrn3d.distributed.patience import limited_wait
from wrn3d.system.errors import UsageError, WorkerError, reason
from wrn3d.system.machine import usable_cores

# Words in TensorFlow's errors about another worker. The type alone does not tell: an error of this
# worker's own may have the same one.
OTHERS = ("collective", "coordination", "heartbeat", "peer", "connect", "socket", "grpc")

_strategies: list[tf.distribute.Strategy] = []  # kept: it holds the cluster together


@contextmanager
def expecting_workers(index: int, count: int) -> Iterator[None]:
    """Turn the loss of another worker into a WorkerError; this is worker `index` of `count`.

    A wait longer than PATIENCE ends the process.
    """
    try:
        with limited_wait(index):
            yield
    except tf.errors.OpError as error:
        if isinstance(error, tf.errors.ResourceExhaustedError) or not any(
            word in str(error).lower() for word in OTHERS
        ):
            raise
        raise WorkerError(
            f"worker {index} cannot continue: another of the {count} was lost or does not answer; "
            "start all workers again, with --resume if the run has a folder"
        ) from error


def join(source: str, synchronised: bool) -> None:
    """Join the cluster and wait for the other workers; later calls do nothing.

    On one core, TensorFlow gets one inter-op thread if batch norm is `synchronised`. That is
    fastest, since the layers wait for each other. Otherwise it gets two, since one thread would
    leave the sums of gradients to the end of a step.
    """
    if not _strategies:
        _strategies.append(_join(source, threads=1 if synchronised else 2))


def _join(source: str, threads: int) -> tf.distribute.Strategy:
    resolver = (
        slurm_resolver()
        if source == "SLURM"
        else tf.distribute.cluster_resolver.TFConfigClusterResolver()
    )
    try:
        if usable_cores() == 1 and "TF_NUM_INTEROP_THREADS" not in os.environ:
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
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
        raise UsageError(
            f"SLURM's variables do not describe the workers ({reason(error)}): give each of them "
            "a TF_CONFIG instead"
        ) from error


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
