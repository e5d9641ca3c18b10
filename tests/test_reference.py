"""The reference itself: its gradients against finite differences."""

import numpy as np
import pytest

from tests.support.reference import Reference
from wrn3d import WideResNetSpec, initial_weights


@pytest.mark.parametrize("shortcut", ["pad", "projection"])
def test_gradients_are_the_slopes_of_the_loss(shortcut):
    spec = WideResNetSpec(
        depth=10, widen_factor=2, num_classes=3, input_shape=(3, 5, 4, 2), shortcut=shortcut
    )
    rng = np.random.default_rng(0)
    weights = {name: array.astype(np.float64) for name, array in initial_weights(spec, 0).items()}
    volumes, labels = rng.standard_normal((4, *spec.input_shape)), rng.integers(0, 3, 4)

    def loss(weights):
        run = Reference(spec, weights, volumes, training=True)
        return run.loss_and_backward(labels), run.gradients

    _, gradients = loss(weights)
    assert gradients.keys() == {name for name in weights if "running" not in name}
    for name, gradient in gradients.items():
        direction = rng.standard_normal(gradient.shape)
        step = 1e-7
        slope = (
            loss(weights | {name: weights[name] + step * direction})[0]
            - loss(weights | {name: weights[name] - step * direction})[0]
        ) / (2 * step)
        assert slope == pytest.approx((gradient * direction).sum(), rel=1e-4, abs=1e-6), name
