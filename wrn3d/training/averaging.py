"""An EMA of the weights over the iterations (after Polyak and Juditsky 1992)."""

from collections.abc import Mapping
from functools import partial
from typing import Any
from weakref import ref

import numpy as np

from wrn3d.network.variables import assign, values
from wrn3d.system.interrupts import complete

EVERY = 5  # iterations between updates: more updates would cost time and change little


class WeightAverage:
    """Averages `variables`, {canonical name: variable}, batch norm's running averages included.

    `decay` is the share of the average that an iteration keeps. `average` holds the average,
    {canonical name: variable}. While it is in use, `last` holds the last weights.
    """

    last: dict[str, np.ndarray] | None = None

    def __init__(self, variables: Mapping[str, Any], decay: float) -> None:
        import tensorflow as tf  # here, so that importing a script is instant

        self.variables, self.decay = variables, decay
        self.average = {
            name: tf.Variable(array, trainable=False) for name, array in values(variables).items()
        }
        self.users: dict[int, ref[InUse]] = {}
        self._updated = tf.Variable(-1, trainable=False, dtype=tf.int64)  # the last iteration

        @tf.function(autograph=False)
        def move(kept: Any, iteration: Any) -> None:
            for name, average in self.average.items():
                average.assign(average * kept + variables[name] * (1 - kept))
            self._updated.assign(iteration)

        self._move = move

    def update(self, iteration: int) -> None:
        """Update the average with the weights after `iteration`, if an update is due.

        A second call for the same iteration does nothing. Before iteration EVERY the average equals
        the weights. From then on each EVERY-th iteration updates it. The decay is lower at first,
        to forget the early weights sooner.
        """
        if iteration < EVERY:
            kept = 0.0
        elif iteration % EVERY == 0:
            kept = min(self.decay**EVERY, iteration / (iteration + 10 * EVERY))
        else:
            return
        if self._updated.numpy() != iteration:
            self._move(np.asarray(kept, np.float32), np.asarray(iteration, np.int64))

    def forget(self) -> None:
        """Forget which iteration was the last to update the average."""
        self._updated.assign(np.asarray(-1, np.int64))

    def in_use(self) -> "InUse":
        """Return a context in which the variables hold the average."""
        return InUse(self)

    def take_up(self, user: "InUse") -> None:
        """Let the variables hold the average until no user is left."""
        if not self.users:
            if self.last is None:
                self.last = values(self.variables)
            assign(self.variables, values(self.average))
        number = id(user)
        # An interrupt can get out before the first step of `__exit__`: then the user's end counts.
        self.users[number] = ref(user, lambda _: complete(partial(self.put_down, number)))

    def put_down(self, number: int) -> None:
        """Let the variables hold the last weights again, unless another user is left."""
        self.users.pop(number, None)
        if not self.users and self.last is not None:
            assign(self.variables, self.last)
            self.last = None


class InUse:
    """A context in which a WeightAverage's variables hold the average; contexts can be nested."""

    def __init__(self, average: WeightAverage) -> None:
        self.average, self.depth = average, 0

    def __enter__(self) -> None:
        self.depth += 1
        try:
            complete(partial(self.average.take_up, self))
        except BaseException:  # the context does not begin, so it does not end either
            self.__exit__()
            raise

    def __exit__(self, *exception: object) -> None:
        self.depth -= 1
        if not self.depth:
            complete(partial(self.average.put_down, id(self)))
