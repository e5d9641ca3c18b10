"""Train as one of several workers: FRONT_END FILE ITERATIONS SETTINGS [CORES].

Each worker has a share of the cores, or CORES of them. The first worker writes the arrays of
`training_arrays` to FILE.
"""

import json
import os
import random
import sys

import numpy as np

from tests.support.environments import environment_class
from wrn3d.distributed.workers import find_rank
from wrn3d.launch.resources import cores_of
from wrn3d.system.exit_status import exit_status
from wrn3d.training.checkpoint import LEARNED


def training_arrays(env, iterations):
    """Train and return {name: array}: losses, accuracies, batch sizes, the first gradients, the
    final weights with what belongs to them, and what they predict: the logits of some test volumes,
    the log probabilities of the split and of its mirror images, and their scores."""
    gradients = env.gradients()
    results = [env.step() for _ in range(iterations)]
    checkpoint, views = env.snapshot(), env.predict_views(mirror=True)
    learned = {kind: getattr(checkpoint, kind) for kind in ("weights", *LEARNED)}
    return {
        "loss": np.array([result.loss for result in results]),
        "accuracy": np.array([result.accuracy for result in results]),
        "batch_size": np.array([result.batch_size for result in results]),
        "logits": env.predict(env.dataset.normalise(env.dataset.test_volumes[:27])),
        "predictions": views[0].log_probabilities,
        "mirrored": np.array([view.log_probabilities for view in views[1:]]),
        "scores": np.array(list(env.evaluate().by_name.values())),
        **{
            f"{kind}/{name}": array
            for kind, arrays in ({"gradient": gradients} | learned).items()
            for name, array in arrays.items()
        },
    }


def some_of(own, count):
    """Return `count` cores: some of this worker's `own`, or if they are too few, of all cores."""
    cores = sorted(own if len(own) >= count else os.sched_getaffinity(0))
    return random.sample(cores, min(count, len(cores)))


def work(front_end, path, iterations, settings, cores=None):
    rank = find_rank()
    # As wrn3d.launch does. Without shards, the last bits of a sum depend on the number of cores.
    own = cores_of(rank.rank, rank.world_size)
    os.sched_setaffinity(0, some_of(own, int(cores)) if cores else own)
    env = environment_class(front_end)(**json.loads(settings))
    arrays = training_arrays(env, int(iterations))
    if env.worker.index == 0:
        np.savez(path, **arrays)


if __name__ == "__main__":
    sys.exit(exit_status(work, *sys.argv[1:]))
