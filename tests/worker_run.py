"""What each of several workers runs: FRONT_END FILE ITERATIONS SETTINGS [nudge].

Trains, and the first worker writes to FILE, as arrays: the losses and accuracies, the weights and
the predictions of the test split. With `nudge` the first kernel starts a rounding step higher.
"""
import json
import sys

import numpy as np

from tests.conftest import environment_class
from wrn3d.command import exit_status


def work(front_end, path, iterations, settings, *nudge):
    env = environment_class(front_end)(**json.loads(settings))
    if nudge:
        weights = env.get_weights()
        env.set_weights(weights | {"conv0": np.nextafter(weights["conv0"], np.float32(np.inf))})
    first_gradients = env.gradients()
    results = [env.step() for _ in range(int(iterations))]
    predictions = env.predict_split()
    if env.worker.index == 0:
        np.savez(path, loss=[result.loss for result in results],
                 accuracy=[result.accuracy for result in results],
                 batch_size=[result.batch_size for result in results],
                 predictions=predictions.log_probabilities,
                 **{f"gradient/{name}": array for name, array in first_gradients.items()},
                 **{f"weight/{name}": array for name, array in env.get_weights().items()})


if __name__ == "__main__":
    sys.exit(exit_status(work, *sys.argv[1:]))
