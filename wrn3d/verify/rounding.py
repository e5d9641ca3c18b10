"""Bound the rounding errors of a formula: arrays that carry the largest error of each element.

This is running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
section 3.3). The bounds hold for every order of summation, and so for every blocking, vector width
and number of threads.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

FLOAT32, BFLOAT16 = 2.0**-24, 2.0**-8  # unit roundoffs: half the step above 1
# A formula's result is right within this many times its bound. TensorFlow may use another
# formula than the reference, such as a variance from sums of squares, or approximate exp.
SAFETY = 4


def sum_error(terms: int, sizes: Any) -> Any:
    """Return the largest error of sums of so many terms, given the sums of their magnitudes.

    In the worst case each term adds a unit roundoff. But rounding errors have no common sign, and
    more than 8 sqrt(terms) units have a probability below 1e-9 for up to 10,000 terms (Higham and
    Mary, A new approach to probabilistic rounding error analysis, 2019).
    """
    return min(terms, 8 * terms**0.5) * FLOAT32 * sizes


class Bounded(np.lib.mixins.NDArrayOperatorsMixin):
    """A float64 array, and the largest error that float32 arithmetic gives each element.

    NumPy's functions in RULES take it like an array, so the reference's formulas do.
    """

    def __init__(self, value: Any, error: Any = 0.0) -> None:
        self.value = np.asarray(value, np.float64)
        self.error = np.broadcast_to(np.asarray(error, np.float64), self.value.shape)
        self.shape, self.size = self.value.shape, self.value.size

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **_: Any) -> Any:
        values, errors = zip(*map(_parts, inputs), strict=True)
        if method != "__call__" or ufunc not in RULES:
            return ufunc(*values) if ufunc is np.greater else NotImplemented
        result = ufunc(*values)
        return Bounded(result, RULES[ufunc](result, *values, *errors) + FLOAT32 * np.abs(result))

    def sum(self, axis: Any = None, keepdims: bool = False) -> "Bounded":
        """Return the sum over `axis`, in any order."""
        total = self.value.sum(axis=axis, keepdims=keepdims)
        error = self.error.sum(axis=axis, keepdims=keepdims)
        sizes = (np.abs(self.value) + self.error).sum(axis=axis, keepdims=keepdims)
        return Bounded(total, error + sum_error(self.size // total.size, sizes))

    def mean(self, axis: Any = None) -> "Bounded":
        """Return the mean over `axis`."""
        total = self.sum(axis)
        return total / (self.size // total.size)

    def max(self, axis: Any, keepdims: bool) -> np.ndarray:
        """Return the exact maximum: formulas use it as a shift, whose error cancels."""
        return self.value.max(axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> "Bounded":
        return Bounded(self.value.reshape(*shape), self.error.reshape(*shape))

    @property
    def T(self) -> "Bounded":
        return Bounded(self.value.T, self.error.T)


def joined(arrays: Any) -> Bounded:
    """Return the concatenation of several Bounded along their first axis."""
    return Bounded(
        *(np.concatenate([getattr(one, name) for one in arrays]) for name in ("value", "error"))
    )


def value_of(number: Any) -> Any:
    """Return the array of a Bounded, and other arrays unchanged."""
    return number.value if isinstance(number, Bounded) else number


def _parts(number: Any) -> tuple[Any, Any]:
    """Return an argument's value and error; a plain number is rounded once to float32."""
    if isinstance(number, Bounded):
        return number.value, number.error
    return number, FLOAT32 * np.abs(number)


def _product(_: Any, a: Any, b: Any, of_a: Any, of_b: Any) -> Any:
    return np.abs(a) * of_b + of_a * np.abs(b) + of_a * of_b


def _quotient(result: Any, a: Any, b: Any, of_a: Any, of_b: Any) -> Any:
    return (of_a + np.abs(result) * of_b) / np.maximum(np.abs(b) - of_b, np.finfo(float).tiny)


def _products(_: Any, a: Any, b: Any, of_a: Any, of_b: Any) -> Any:
    of_a, of_b = np.broadcast_to(of_a, np.shape(a)), np.broadcast_to(of_b, np.shape(b))
    largest = (np.abs(a) + of_a) @ (np.abs(b) + of_b)
    return largest - np.abs(a) @ np.abs(b) + sum_error(len(b), largest)


# {function: the error of its exact result, from (result, *values, *their errors)}
RULES: dict[Any, Callable[..., Any]] = {
    np.add: lambda result, a, b, of_a, of_b: of_a + of_b,
    np.subtract: lambda result, a, b, of_a, of_b: of_a + of_b,
    np.multiply: _product,
    np.divide: _quotient,
    np.matmul: _products,
    np.maximum: lambda result, a, b, of_a, of_b: np.maximum(of_a, of_b),
    np.sqrt: lambda result, a, of_a: of_a / np.maximum(result, np.sqrt(of_a)),
    np.exp: lambda result, a, of_a: result * np.expm1(of_a),
    np.log: lambda result, a, of_a: of_a / (a - of_a),
}


def largest_error(actual: np.ndarray, expected: Bounded) -> tuple[float, float]:
    """Return (error, bound) of the element that is nearest to, or furthest above, its bound.

    The bound includes the rounding to the precision of `actual`. NaN counts as infinitely wrong.
    """
    unit = BFLOAT16 if actual.dtype.name == "bfloat16" else FLOAT32
    actual = actual.astype(np.float64)
    if actual.shape != expected.shape:
        return np.inf, 0.0
    errors = np.nan_to_num(np.abs(actual - expected.value), nan=np.inf, posinf=np.inf)
    bounds = SAFETY * expected.error + unit * (np.abs(expected.value) + SAFETY * expected.error)
    ratios = np.divide(errors, bounds, out=np.where(errors > 0, np.inf, 0.0), where=bounds > 0)
    place = np.unravel_index(ratios.argmax(), ratios.shape)
    return float(errors[place]), float(bounds[place])
