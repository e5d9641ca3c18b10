"""Euclidean norms of a run's weights and gradients, by part of the network."""

from collections.abc import Callable
from math import nan
from typing import Any, NamedTuple

from wrn3d.network.parameters import part_of
from wrn3d.network.variables import trained_names


class Norms(NamedTuple):
    """Euclidean norms by part of the network, {"conv0": norm, "group0": norm, ...}.

    `weights` has the norms of the trained weights, `gradients` those of the last gradients, before
    weight decay: NaN until the first are computed.
    """

    weights: dict[str, float]
    gradients: dict[str, float]


def norm_meter(model: Any, optimizer: Any) -> Callable[[], Norms]:
    """Return a function that measures the norms of weights and gradients.

    It measures the model's trained weights and the gradients that the optimizer noted last.
    """
    import tensorflow as tf

    order = list(optimizer.order)  # the network's: both front ends then add in the same order
    trained, weights = trained_names(model), model.trainable_weights
    parts = [part_of(trained[place]) for place in order]
    # One graph for all norms is five times as fast as separate calls.
    weight_norms = tf.function(
        lambda: tf.stack([tf.norm(weight) for weight in weights]), autograph=False
    )

    def by_part(norms: Any) -> dict[str, float]:
        squares = dict.fromkeys(parts, 0.0)
        for part, norm in zip(parts, norms.numpy()[order].tolist(), strict=True):
            squares[part] += norm**2 if norm >= 0 else nan
        return {part: square**0.5 for part, square in squares.items()}

    return lambda: Norms(by_part(weight_norms()), by_part(optimizer.gradient_norms))
