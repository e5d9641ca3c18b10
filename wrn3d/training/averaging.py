"""An average of the weights over the iterations (Polyak and Juditsky 1992)."""

from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from wrn3d.network.variables import assign, values

EVERY = 5  # iterations: more often would cost more, and change little


class WeightAverage:
    """Of `variables`, {canonical name: variable}, batch norm's averages included; `decay` is the
    share of it that an iteration keeps. While it is in use, `last` holds the last weights."""

    last = None

    def __init__(self, variables, decay):
        self.variables, self.decay = variables, decay
        self.average = {
            name: tf.Variable(array, trainable=False) for name, array in values(variables).items()
        }

        @tf.function(autograph=False)
        def move(kept):
            for name, average in self.average.items():
                average.assign(average * kept + variables[name] * (1 - kept))

        self._move = move

    def update(self, iteration):
        """Take in the weights after an iteration. Until the first EVERY they are the average
        themselves; then less is kept at first, so that the early weights are forgotten sooner."""
        if iteration < EVERY:
            kept = 0
        elif iteration % EVERY == 0:
            kept = min(self.decay**EVERY, iteration / (iteration + 10 * EVERY))
        else:
            return
        self._move(np.asarray(kept, np.float32))

    @contextmanager
    def in_use(self):
        """A context in which the variables hold the average."""
        self.last = values(self.variables)
        assign(self.variables, values(self.average), "the average of the weights")
        try:
            yield
        finally:
            assign(self.variables, self.last, "the last weights")
            self.last = None
