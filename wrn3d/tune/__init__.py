"""Trials of Ray Tune: `wrn3d.tune.Trainable`.

Needs Ray Tune: `pip install "wrn3d[tune]"`. Nothing else in the package imports this folder.
"""

try:
    import ray.tune  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'wrn3d.tune needs Ray Tune, which is not installed: pip install "wrn3d[tune]"',
        name=error.name,
    ) from error

from wrn3d.tune.trainable import Trainable as Trainable
