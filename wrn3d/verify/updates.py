"""The optimizers' formulas in plain NumPy: the weight and its momenta after an update.

An update is a function from (weight, momenta, gradient, learning rate) to (weight, momenta).
"""

from math import prod

import numpy as np

from wrn3d.verify.rounding import Bounded, value_of

JORDAN, STEPS = (3.4445, -4.7750, 2.0315), 3  # Jordan et al. 2024, "Muon"


def sgd(momentum=0.0, nesterov=False, weight_decay=0.0, rate_factor=1):
    """Return the update of torch.optim.SGD, at `rate_factor` times the learning rate."""

    def update(weight, momenta, gradient, rate):
        gradient = gradient + weight_decay * weight
        velocity = momentum * momenta[0] + gradient
        change = gradient + momentum * velocity if nesterov else velocity
        return weight - rate_factor * rate * change, [velocity]

    return update


def adam(first=0.9, second=0.999, epsilon=1e-8):
    """Return the update of Kingma and Ba 2015, in the order at the end of section 2.

    The third and fourth momentum are the powers of `first` and `second`, which start at 1.
    """

    def update(weight, momenta, gradient, rate):
        mean = first * momenta[0] + (1 - first) * gradient
        square = second * momenta[1] + (1 - second) * (gradient * gradient)
        powers = momenta[2] * first, momenta[3] * second
        rate = rate * np.sqrt(1 - powers[1]) / (1 - powers[0])
        return weight - rate * mean / (np.sqrt(square) + epsilon), [mean, square, *powers]

    return update


def muon(momentum, weight_decay, unit=0.0):
    """Return Jordan's update of kernels (k, k, k, C, F), with Nesterov's momentum.

    `unit` is the relative rounding error of the matrix products. Jordan's polynomial has slopes up
    to 4 on singular values from 0 to 1.2, so each step multiplies errors by 4 at most.
    """

    def update(weight, momenta, gradient, rate):
        velocity = momentum * momenta[0] + gradient
        change = gradient + momentum * velocity
        rows, filters = prod(weight.shape[:-1]), weight.shape[-1]
        step = orthogonalized(value_of(change).reshape(rows, filters)).reshape(weight.shape)
        if unit:
            step = Bounded(step, 4**STEPS * unit * np.sqrt((step * step).mean()))
        scale = rate * max(1.0, filters / rows) ** 0.5
        return (1 - rate * weight_decay) * weight - scale * step, [velocity]

    return update


def orthogonalized(matrix):
    """Return the matrix after Jordan's iteration, applied to its singular values."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(STEPS):
        values = np.polynomial.Polynomial([0, JORDAN[0], 0, JORDAN[1], 0, JORDAN[2]])(values)
    return left * values @ right
