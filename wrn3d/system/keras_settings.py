"""Keep Keras's process-wide settings out of what this package builds and computes."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_float32() -> Iterator[None]:
    """Let Keras use float32 inside, whatever its floatx and its dtype policy are outside.

    Layers, losses, metrics and optimizers take these settings when they are made, and a few when
    they are called.
    """
    from keras import config

    floatx, policy = config.floatx(), config.dtype_policy()
    if floatx == policy.name == "float32":
        yield
        return
    config.set_floatx("float32")
    config.set_dtype_policy("float32")
    try:
        yield
    finally:
        config.set_floatx(floatx)
        config.set_dtype_policy(policy)
