"""Train as one of several workers: FRONT_END FILE ITERATIONS SETTINGS.

The first worker writes the arrays of `training_arrays` to FILE.
"""

import json
import os
import sys

import numpy as np

from tests.support.environments import environment_class
from wrn3d.distributed.workers import find_rank
from wrn3d.launch.resources import cores_of
from wrn3d.system.exit_status import exit_status


def training_arrays(env, iterations):
    """Train and return {name: array}: losses, accuracies, batch sizes, the first gradients, the
    final weights, and the log probabilities that they predict on the test split."""
    gradients = env.gradients()
    results = [env.step() for _ in range(iterations)]
    return {
        "loss": np.array([result.loss for result in results]),
        "accuracy": np.array([result.accuracy for result in results]),
        "batch_size": np.array([result.batch_size for result in results]),
        "predictions": env.predict_split().log_probabilities,
        **{f"gradient/{name}": array for name, array in gradients.items()},
        **{f"weight/{name}": array for name, array in env.get_weights().items()},
    }


def work(front_end, path, iterations, settings):
    rank = find_rank()
    # As wrn3d.launch does. The last bits of a sum depend on the number of cores that add it.
    os.sched_setaffinity(0, cores_of(rank.rank, rank.world_size))
    env = environment_class(front_end)(**json.loads(settings))
    arrays = training_arrays(env, int(iterations))
    if env.worker.index == 0:
        np.savez(path, **arrays)


if __name__ == "__main__":
    sys.exit(exit_status(work, *sys.argv[1:]))
