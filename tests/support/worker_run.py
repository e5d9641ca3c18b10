"""What each of several workers runs: FRONT_END FILE ITERATIONS SETTINGS.

Trains, and the first worker writes to FILE what `trained` says.
"""

import json
import sys

import numpy as np

from tests.support.environments import environment_class
from wrn3d.system.exit_status import exit_status


def trained(env, iterations):
    """{name: array}: losses and accuracies, the first gradients, the weights at the end, and what
    they predict of the test split."""
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
    env = environment_class(front_end)(**json.loads(settings))
    found = trained(env, int(iterations))
    if env.worker.index == 0:
        np.savez(path, **found)


if __name__ == "__main__":
    sys.exit(exit_status(work, *sys.argv[1:]))
