"""The optimizers' formulas in NumPy against PyTorch's optimizers."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.support.pytorch_optimizers import updated_by_pytorch
from wrn3d.verify import updates

RATES = 0.1, 0.02, 0.3
CASES = {
    "sgd": (
        updates.sgd(0.9, True, 0.05),
        partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.05),
    ),
    "adam": (updates.adam(), torch.optim.Adam),
}


def updated(formula, start, gradients):
    weight, momenta = start, [0.0, 0.0, 1.0, 1.0]
    for gradient, rate in zip(gradients, RATES, strict=True):
        weight, momenta = formula(weight, momenta, gradient, rate)
    return weight


@pytest.mark.parametrize("name", CASES)
def test_formula_is_pytorchs(name):
    formula, optimizer = CASES[name]
    start, *gradients = np.random.default_rng(0).standard_normal((4, 3, 5))
    expected = updated_by_pytorch(optimizer, start, gradients, RATES)
    np.testing.assert_allclose(updated(formula, start, gradients), expected, atol=1e-6)


def test_muon_is_pytorchs(monkeypatch):
    """PyTorch's takes only matrices and iterates five times, in bfloat16."""
    monkeypatch.setattr(updates, "STEPS", 5)
    start, *gradients = np.random.default_rng(0).standard_normal((4, 3, 3, 1, 6, 5))
    formula = updates.muon(0.9, 0.2)
    rows = [array.reshape(54, 5).T for array in (start, *gradients)]
    muon = partial(torch.optim.Muon, weight_decay=0.2, momentum=0.9, nesterov=True)
    expected = updated_by_pytorch(muon, rows[0], rows[1:], RATES)
    actual = updated(formula, start, gradients).reshape(54, 5).T
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-2)
