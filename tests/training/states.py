"""A run with every setting on, and helpers that check whether its state has changed."""

from contextlib import contextmanager

import numpy as np
import pytest

from wrn3d.network.variables import model_layers
from wrn3d.training.checkpoint import NUMBERS

FULL = {
    "dropout": 0.3,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "augment": True,
    "shortcut": "projection",
    "learning_rate": 0.05,
    "averaging": 0.9,
}
# For tests whose two front ends share most of the code.
tensorlayer_slow = pytest.mark.parametrize(
    "front_end", [pytest.param("tensorlayer", marks=pytest.mark.slow), "keras"], indirect=True
)


def same(left, right):
    """Return whether two {name: array} are equal to the last bit."""
    return left.keys() == right.keys() and all(np.array_equal(left[n], right[n]) for n in left)


def full_state(env):
    """Return everything that decides the next iteration, as {name: array}."""
    checkpoint = env.snapshot()
    arrays = {
        f"{kind} {name}": array
        for kind in ("weights", "momentum", "average")
        for name, array in getattr(checkpoint, kind).items()
    }
    dropout = [layer for layer in model_layers(env.model) if hasattr(layer, "shares")]
    return arrays | {
        "numbers": np.array([getattr(checkpoint, name) for name in NUMBERS]),
        "momentum and weight decay": env.optimizer.current.numpy(),
        "dropout": np.array([[one.shares.numpy(), one.position.numpy()] for one in dropout]),
    }


@contextmanager
def refused(env, error, message=None):
    """Check that the context raises `error` with a matching message and changes no state.

    Yields what `pytest.raises` yields.
    """
    before = full_state(env)
    with pytest.raises(error, match=message) as refusal:
        yield refusal
    assert same(full_state(env), before)
