"""The NumPy reference itself: its gradients against finite differences."""

import numpy as np
import pytest

from wrn3d import WideResNetSpec, initial_weights
from wrn3d.verify.reference import Reference


@pytest.mark.parametrize("shortcut", ["pad", "projection"])
def test_gradients_are_the_slopes_of_the_loss(shortcut):
    spec = WideResNetSpec(10, 1, num_classes=3, input_shape=(3, 5, 4, 2), shortcut=shortcut)
    rng = np.random.default_rng(0)
    weights = {name: array.astype(np.float64) for name, array in initial_weights(spec, 0).items()}
    volumes, labels = rng.standard_normal((4, *spec.input_shape)), rng.integers(0, 3, 4)

    def loss(weights):
        return Reference(spec, weights, volumes, training=True).loss_and_backward(labels)

    reference = Reference(spec, weights, volumes, training=True)
    reference.loss_and_backward(labels)
    assert reference.gradients.keys() == {name for name in weights if "running" not in name}
    for name, gradient in reference.gradients.items():
        direction, step = rng.standard_normal(gradient.shape), 1e-7
        above, below = (
            loss(weights | {name: weights[name] + sign * step * direction}) for sign in (1, -1)
        )
        slope = (above - below) / (2 * step)
        assert slope == pytest.approx((gradient * direction).sum(), rel=1e-4, abs=1e-6), name
