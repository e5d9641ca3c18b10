"""The bounds of rounding errors: float32 stays within them, and coarser arithmetic does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wrn3d.verify import reference
from wrn3d.verify.rounding import BFLOAT16, FLOAT32, SAFETY, Bounded, largest_error

FORMULAS = {
    "sum": lambda x, y: (x + y).sum(0),
    "difference": lambda x, y: (x - y) * 0.1,
    "quotient": lambda x, y: x / (np.sqrt(y * y) + 1),
    "product": lambda x, y: x @ y.T,
    "softmax": lambda x, y: np.exp(x) / np.exp(x).sum(1, keepdims=True),
    "logarithm": lambda x, y: np.log(np.exp(y).sum(1)) - 1,
    "mean": lambda x, y: np.maximum(x - x.mean(0), 0),
}


def numbers(seed, rows=12, columns=40):
    return np.random.default_rng(seed).standard_normal((2, rows, columns)).astype(np.float32)


@pytest.mark.parametrize("name", FORMULAS)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), rows=st.integers(2, 60))
def test_float32_stays_within_the_bound(name, seed, rows):
    x, y = numbers(seed, rows)
    expected = FORMULAS[name](Bounded(x), Bounded(y))
    np.testing.assert_allclose(
        expected.value, FORMULAS[name](x.astype(np.float64), y.astype(np.float64)), rtol=1e-12
    )
    error, bound = largest_error(np.asarray(FORMULAS[name](x, y), np.float32), expected)
    assert error <= bound


@pytest.mark.parametrize("name", FORMULAS)
def test_half_precision_does_not(name):
    arrays = numbers(0)
    expected = FORMULAS[name](*map(Bounded, arrays))
    coarse = FORMULAS[name](*arrays.astype(np.float16)).astype(np.float32)
    error, bound = largest_error(coarse, expected)
    assert error > bound


def test_a_reference_on_bounded_arrays_is_itself():
    x = numbers(0)[0].reshape(4, 1, 5, 6, 4)
    arguments = x, np.ones(4), np.zeros(4), np.zeros(4), np.ones(4)
    plain, bounded = (
        reference.batch_norm(*map(kind, arguments), training=True) for kind in (np.float64, Bounded)
    )
    for values, bounds in zip(
        (plain[0], *plain[1](plain[0])), (bounded[0], *bounded[1](bounded[0])), strict=True
    ):
        np.testing.assert_allclose(bounds.value, values, rtol=1e-12, atol=1e-12)
        assert (bounds.error > 0).all() and bounds.error.max() < 1e-2


def test_one_element_beyond_its_bound_is_found():
    right = np.full((3, 4), 1.5, np.float32)
    expected = Bounded(right, 1e-6)
    assert largest_error(right, expected)[0] == 0
    for wrong in (1.5 + 1e-5, np.nan, np.inf, 0.0):
        array = right.copy()
        array[2, 1] = wrong
        error, bound = largest_error(array, expected)
        assert error > bound == pytest.approx(SAFETY * 1e-6 + FLOAT32 * 1.5, rel=1e-5)
    assert largest_error(right[:2], expected) == (np.inf, 0)


def test_an_exact_result_has_no_room():
    error, bound = largest_error(np.array([0, 1e-30], np.float32), Bounded([0.0, 0.0]))
    assert error > bound == 0


def test_bfloat16_may_round_once_more():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    exact = np.linspace(1, 2, 1000)
    error, bound = largest_error(exact.astype(bfloat16), Bounded(exact))
    assert 0.5 * bound < error <= bound <= 2 * BFLOAT16
