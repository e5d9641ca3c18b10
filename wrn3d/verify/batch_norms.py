"""Batch norm with ReLU on fixed inputs: on a batch, and on a batch in two shards."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from wrn3d.system.randomness import generator
from wrn3d.verify import reference
from wrn3d.verify.checking import Arrays, Prepared, exact, gradients, random, traced
from wrn3d.verify.rounding import BFLOAT16, SAFETY, Bounded, joined

TRAINING, EVALUATION, SYNCHRONISED, LOCAL = PHASES = (
    "training",
    "evaluation",
    "two shards",
    "two shards, local",
)
RESULT, MEAN, VARIANCE = MOMENTS = "result", "mean", "variance"
GRADIENTS = "gradient of x", "gradient of the weight", "gradient of the bias"


def batch_norm(shape: tuple[int, ...], phase: str, precision: str = "float32") -> Prepared:
    """Prepare batch norm and ReLU, with their gradients except in evaluation.

    The mean and variance are running averages, but in shards those of the batch, or of each shard
    if local.
    """
    x, upstream = random(precision, shape, shape)
    draws = generator(0, "batch norm").uniform(0.5, 1.5, (4, shape[-1])).astype(np.float32)
    parameters = [exact(x), *draws.astype(np.float64)]
    if phase in (SYNCHRONISED, LOCAL):
        parameters[3:] = np.zeros((2, shape[-1]))  # averages that start at 0 become the moments
    normal = _reference(phase, parameters, exact(upstream))[0]
    # Leave the gradient out where rounding may decide on which side of ReLU an element is.
    sure = np.abs(normal.value) > 2 * BFLOAT16 * np.abs(normal.value).max()
    upstream = upstream * sure.astype(upstream.dtype.as_numpy_dtype)
    forward = _in_shards(phase) if phase in (SYNCHRONISED, LOCAL) else _whole(phase)

    def compute(x: Any, weight: Any, bias: Any, mean: Any, var: Any, upstream: Any) -> Any:
        moments: list[Any] = []

        def normalised(x: Any, weight: Any, bias: Any) -> Any:
            y, *moments[:] = forward(x, weight, bias, mean, var)
            return y

        inputs = [x, weight, bias]
        if phase == EVALUATION:
            return dict(zip(MOMENTS, [normalised(*inputs), *moments], strict=True))
        y, found = gradients(normalised, inputs, upstream)
        return dict(zip((*MOMENTS, *GRADIENTS), [y, *moments, *found], strict=True))

    def expect(outputs: Arrays) -> dict[str, Bounded]:
        normal, *others = _reference(phase, parameters, exact(upstream))
        found = dict(zip((*MOMENTS, *GRADIENTS), [np.maximum(normal, 0), *others], strict=True))
        if phase == SYNCHRONISED and precision == "bfloat16":
            # The difference of two rounded gradients, with constant statistics and through them.
            of_x = found[GRADIENTS[0]]
            direct = _direct(parameters, exact(upstream) * (normal.value > 0))
            sizes = np.abs(direct) + np.abs(direct - of_x.value)
            found[GRADIENTS[0]] = Bounded(of_x.value, of_x.error + BFLOAT16 / SAFETY * sizes)
        return {name: found[name] for name in outputs}

    return traced(compute, x, *draws, upstream), expect


def _whole(phase: str) -> Callable[..., Any]:
    from wrn3d.network.batch_norm import batch_norm_relu

    return partial(batch_norm_relu, training=phase == TRAINING)


def _in_shards(phase: str) -> Callable[..., Any]:
    import tensorflow as tf

    from wrn3d.distributed.shards import Sharding
    from wrn3d.network.batch_norm import local_batch_norm_relu, synchronised_batch_norm_relu

    sharding = Sharding(2, phase == SYNCHRONISED)
    normalise: Any = local_batch_norm_relu if phase == LOCAL else synchronised_batch_norm_relu

    def forward(x: Any, weight: Any, bias: Any, *_: Any) -> Any:
        shards, moments = normalise(sharding.split(x), weight, bias, sharding)
        return tf.concat(shards, 0), *tf.unstack(tf.stack(moments), axis=-2)

    return forward


def _reference(phase: str, parameters: Any, upstream: Any) -> list[Any]:
    """Return what ReLU takes, the averages or moments, and the three gradients."""
    x, weight, bias, mean, var = parameters
    shards = 2 if phase == LOCAL else 1
    found: list[Any] = []
    for part, of_part in zip(np.split(x, shards), np.split(upstream, shards), strict=True):
        arguments: Any = [Bounded(array) for array in (part, weight, bias, mean, var)]
        normal, backward, *moments = reference.batch_norm(*arguments, training=phase != EVALUATION)
        if phase in (SYNCHRONISED, LOCAL):
            moments = [moment / reference.MOMENTUM for moment in moments]
        into = backward(reference.relu(normal)[1](Bounded(of_part)))
        found.append([normal, *moments, *into])
    if shards == 1:
        return found[0]
    normal, mean, var, of_x, of_weight, of_bias = zip(*found, strict=True)
    stacked = [joined([one.reshape(1, -1) for one in moment]) for moment in (mean, var)]
    return [
        joined(normal),
        *stacked,
        joined(of_x),
        of_weight[0] + of_weight[1],
        of_bias[0] + of_bias[1],
    ]


def _direct(parameters: Any, upstream: Any) -> np.ndarray:
    """Return the gradient of x if the batch's statistics were constants."""
    x, weight, bias, *_ = parameters
    moments = x.mean(reference.OVER_VOLUMES), x.var(reference.OVER_VOLUMES)
    return reference.batch_norm(x, weight, bias, *moments, training=False)[1](upstream)[0]
