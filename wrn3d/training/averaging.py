"""An EMA of the weights over the iterations (after Polyak and Juditsky 1992)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from wrn3d.network.variables import assign, values

EVERY = 5  # iterations between updates: more updates would cost time and change little


class WeightAverage:
    """Averages `variables`, {canonical name: variable}, batch norm's running averages included.

    `decay` is the share of the average that an iteration keeps. `average` holds the average,
    {canonical name: variable}. While it is in use, `last` holds the last weights.
    """

    last: dict[str, np.ndarray] | None = None

    def __init__(self, variables: Mapping[str, Any], decay: float) -> None:
        self.variables, self.decay = variables, decay
        self.average = {
            name: tf.Variable(array, trainable=False) for name, array in values(variables).items()
        }

        @tf.function(autograph=False)
        def move(kept: Any) -> None:
            for name, average in self.average.items():
                average.assign(average * kept + variables[name] * (1 - kept))

        self._move = move

    def update(self, iteration: int) -> None:
        """Update the average with the weights after `iteration`, if an update is due.

        Before iteration EVERY the average equals the weights. From then on each EVERY-th iteration
        updates it. The decay is lower at first, to forget the early weights sooner.
        """
        if iteration < EVERY:
            kept = 0.0
        elif iteration % EVERY == 0:
            kept = min(self.decay**EVERY, iteration / (iteration + 10 * EVERY))
        else:
            return
        self._move(np.asarray(kept, np.float32))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the variables hold the average inside this context."""
        self.last = values(self.variables)
        assign(self.variables, values(self.average), "the average of the weights")
        try:
            yield
        finally:
            assign(self.variables, self.last, "the last weights")
            self.last = None
