"""Euclidean norms of a run's weights and gradients, by part of the network."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from wrn3d.network.parameters import part_of
from wrn3d.network.variables import trained_names


class Norms(NamedTuple):
    """Euclidean norms by part of the network, {"conv0": norm, "group0": norm, ...}.

    `weights` are those of the trained weights, `gradients` those of the gradients computed last,
    before weight decay; NaN before there were any.
    """

    weights: dict[str, float]
    gradients: dict[str, float]


def by_part(names: Sequence[str], norms: Sequence[float]) -> dict[str, float]:
    """Join the norms of single parameters into norms of the parts that they belong to.

    `names` are canonical, in the network's order: both front ends then add in the same order.
    """
    squares: dict[str, float] = {}
    for name, norm in zip(names, norms, strict=True):
        part = part_of(name)
        squares[part] = squares.get(part, 0.0) + float(norm) ** 2
    return {part: square**0.5 for part, square in squares.items()}


class NormMeter:
    """Measures the norms of a model's trained weights and of the gradients that its optimizer
    noted last."""

    def __init__(self, model: Any, optimizer: Any) -> None:
        import tensorflow as tf

        trained = trained_names(model)
        self.order = list(optimizer.order)  # the network's, which both front ends then add in
        self.names = [trained[place] for place in self.order]
        self.gradient_norms = optimizer.gradient_norms
        weights = model.trainable_weights
        # In one graph: five times as fast as one by one.
        self.weight_norms = tf.function(
            lambda: tf.stack([tf.norm(weight) for weight in weights]), autograph=False
        )

    def measure(self) -> Norms:
        """Return the norms by part of the network."""
        both = self.weight_norms().numpy(), self.gradient_norms.numpy()
        return Norms(*(by_part(self.names, norms[self.order]) for norms in both))
