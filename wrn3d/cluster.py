"""TensorFlow's cluster of workers: joining it, and noticing that another worker is gone."""
import os
import signal
import threading
import time
from contextlib import contextmanager
from functools import cache

from wrn3d.errors import UsageError, WorkerError
from wrn3d.runtime import import_tensorflow

PATIENCE = 600  # seconds for a step, or for the others to come: they may build a graph, or save
# What TensorFlow's errors speak of when another worker is the cause; a failure of this worker's own
# may have the same type.
OTHERS = ("collective", "coordination", "heartbeat", "peer", "connect", "socket", "grpc")


@contextmanager
def together(index, count):
    """A context in which worker `index` of `count` needs the others: what fails for want of one is
    a WorkerError, and where it takes longer than PATIENCE the process is ended."""
    import_tensorflow()
    import tensorflow as tf

    try:
        with _patience(index):
            yield
    except tf.errors.OpError as error:
        if not any(word in str(error).lower() for word in OTHERS):
            raise
        raise WorkerError(f"worker {index} goes no further, since another of the {count} is gone "
                          "or does not answer: start all again, with --resume if the run has a "
                          "folder") from error


_waiting_since = []  # when each wait that goes on has begun, and who waits


@contextmanager
def _patience(index):
    """A context that ends the process where it takes longer than PATIENCE: TensorFlow notices a
    worker that is gone or cut off, but not one that runs and never comes."""
    _watch()
    wait = time.monotonic(), index
    _waiting_since.append(wait)
    try:
        yield
    finally:
        _waiting_since.remove(wait)


@cache
def _watch():
    def look():
        while True:
            time.sleep(1)
            for start, index in list(_waiting_since):
                if time.monotonic() - start > PATIENCE:
                    os.write(2, f"error: worker {index} has waited for the others for {PATIENCE} "
                                "seconds: start all again, with --resume if the run has a "
                                "folder\n".encode())
                    os._exit(WorkerError.exit_status)  # a call of TensorFlow cannot be ended

    threading.Thread(target=look, daemon=True, name="patience").start()


@cache
def join(source):
    """Start this process's part of the cluster, and wait for the others: once in a process.

    The strategy is kept, since it holds the cluster together and notices who is gone.
    """
    import tensorflow as tf

    resolver = _slurm_resolver() if source == "SLURM" else \
        tf.distribute.cluster_resolver.TFConfigClusterResolver()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except RuntimeError as error:
        if "startup" not in str(error):
            raise
        raise UsageError("TensorFlow has computed something in this process already, after which "
                         "it cannot join other workers: make the CNNEnv first") from error
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
            return tf.train.ClusterSpec({"worker": [
                f"{node}:{self._port_base + number}"
                for node, tasks in self._task_configuration.items() for number in range(tasks)]})

        def num_accelerators(self, *arguments, **keywords):
            return {"GPU": len(tf.config.list_physical_devices("GPU"))}

    # Other ports for the steps that run on a node at the same time.
    step = sum(int(variables.get(name, 0)) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return InSlurmsOrder(port_base=20_000 + 16 * (step % 700), gpus_per_node=0, gpus_per_task=0,
                         auto_set_gpu=False)
