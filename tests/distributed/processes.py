"""Start the workers of a run, each a process of its own, and return what they compute."""

import json
import os

import numpy as np

from tests.support.processes import finished, start_command
from wrn3d.launch.resources import free_ports

MODULE = "tests.distributed.worker_run"
SECONDS_TO_NOTICE = 60  # at most, until the others report a worker that hangs


def tf_config(addresses, index):
    """Return the variables that tell worker `index` the addresses of all."""
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return {"TF_CONFIG": json.dumps(task)}


def slurm(count, index):
    """Return the variables that srun sets for task `index` of `count` on this machine."""
    return {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": str(count),
        "SLURM_PROCID": str(index),
    }


def start_workers(commands, source="TF_CONFIG"):
    """Start one worker for each command line."""
    count = len(commands)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    return [
        start_command(
            *command,
            env=os.environ
            | (slurm(count, index) if source == "SLURM" else tf_config(addresses, index)),
        )
        for index, command in enumerate(commands)
    ]


def start_training(
    count, front_end, path, iterations, settings, source="TF_CONFIG", cores_each=None
):
    """Start workers that write `training_arrays` to `path`, each on `cores_each` of its cores."""
    command = ["-m", MODULE, front_end, path, iterations, json.dumps(settings)]
    return start_workers([[*command, *([cores_each] if cores_each else [])]] * count, source)


def trained_arrays(workers, path):
    """Wait for the workers of `start_training` and return the arrays."""
    for worker in [finished(worker) for worker in workers]:
        assert worker.returncode == 0, worker.stdout + worker.stderr
    return dict(np.load(path))
