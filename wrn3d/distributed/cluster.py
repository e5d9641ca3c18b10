"""TensorFlow's cluster of workers: joining it, and noticing that another worker is gone."""

import os
import signal
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import cache
from zlib import crc32

from wrn3d.system.errors import UsageError, WorkerError, reason
from wrn3d.system.machine import usable_cores
from wrn3d.system.tensorflow_setup import import_tensorflow

PATIENCE = 600  # seconds without work, while the others may build a graph, or save
BUSY = 0.2  # of a core: a process that uses more does not only wait
# What TensorFlow's errors speak of when another worker is the cause; a failure of this worker's own
# may have the same type.
OTHERS = ("collective", "coordination", "heartbeat", "peer", "connect", "socket", "grpc")


@contextmanager
def expecting_workers(index, count):
    """A context in which worker `index` of `count` needs the others: what fails for want of one is
    a WorkerError, and where it has waited longer than PATIENCE the process is ended."""
    import_tensorflow()
    import tensorflow as tf

    try:
        with _patience(index):
            yield
    except tf.errors.OpError as error:
        if isinstance(error, tf.errors.ResourceExhaustedError) or not any(
            word in str(error).lower() for word in OTHERS
        ):
            raise
        raise WorkerError(
            f"worker {index} goes no further, since another of the {count} is gone "
            "or does not answer: start all again, with --resume if the run has a "
            "folder"
        ) from error


_waits = []  # those that go on


class _Wait:
    """Of a worker, for `seconds` so far, leaving out those in which its process computed."""

    def __init__(self, index):
        self.index, self.seconds = index, 0.0


@contextmanager
def _patience(index):
    """A context that ends the process where it waits longer than PATIENCE: TensorFlow notices a
    worker that is gone or cut off, but not one that runs and never comes."""
    _watch()
    wait = _Wait(index)
    _waits.append(wait)
    try:
        yield
    finally:
        _waits.remove(wait)


@cache
def _watch():
    def look():
        now, computed = time.monotonic(), time.process_time()
        while True:
            time.sleep(1)
            start, before = now, computed
            now, computed = time.monotonic(), time.process_time()
            busy = computed - before > BUSY * (now - start)
            for wait in list(_waits):
                wait.seconds = 0.0 if busy else wait.seconds + now - start
                if wait.seconds > PATIENCE:
                    os.write(
                        2,
                        f"error: worker {wait.index} has waited for the others for "
                        f"{PATIENCE} seconds: start all again, with --resume if the run "
                        "has a folder\n".encode(),
                    )
                    os._exit(WorkerError.exit_status)  # a call of TensorFlow cannot be ended

    threading.Thread(target=look, daemon=True, name="patience").start()


_strategies = []  # kept, since it holds the cluster together and notices who is gone


def join(source, synchronised):
    """Start this process's part of the cluster, and wait for the others: once in a process.

    With one core TensorFlow has one thread. That does best where the workers wait for each other's
    batch norm, and it turns to what else there is. Where they do not, it would leave the sums of
    gradients to the end of a step: without `synchronised` there are two.
    """
    if not _strategies:
        _strategies.append(_joined(source, 1 if synchronised else 2))


def _joined(source, threads):
    import tensorflow as tf

    resolver = (
        _slurm_resolver()
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
            "TensorFlow has computed something in this process already, after which "
            "it cannot join other workers: make the CNNEnv first"
        ) from error
    finally:
        # TensorFlow has put a handler of its own there, after which SIGTERM does nothing.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def _slurm_resolver(variables=os.environ):
    import tensorflow as tf

    class InSlurmsOrder(tf.distribute.cluster_resolver.SlurmClusterResolver):
        """TensorFlow sorts the nodes as text; SLURM numbers its tasks node by node as they come.
        And the GPUs are those that SLURM shows to a task: TensorFlow would ask nvidia-smi."""

        def cluster_spec(self):
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

        def num_accelerators(self, *arguments, **keywords):
            return {"GPU": len(tf.config.list_physical_devices("GPU"))}

    # Other ports for the steps that run on a node at the same time.
    step = "{SLURM_JOB_ID}.{SLURM_STEP_ID}".format_map(defaultdict(str, variables)).encode()
    try:
        return InSlurmsOrder(
            port_base=20_000 + 16 * (crc32(step) % 700),
            gpus_per_node=0,
            gpus_per_task=0,
            auto_set_gpu=False,
        )
    except (ValueError, RuntimeError, KeyError) as error:
        raise UsageError(
            f"SLURM's variables describe no workers ({reason(error)}): give each of "
            "them a TF_CONFIG instead"
        ) from error
