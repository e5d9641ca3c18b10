"""The checks that several settings share, each with its sentence."""
from math import isfinite
from numbers import Integral, Real

from wrn3d.errors import UsageError


def require(condition, message):
    """Raise UsageError with `message` unless `condition` holds."""
    if not condition:
        raise UsageError(message)


def check_count(name, value, least=1):
    """Raise UsageError unless `value` is a whole number, Python's or NumPy's, from `least` up."""
    require(_is(Integral, value) and value >= least,
            f"{name} is {value!r}, but must be a whole number from {least} up")


def check_number(name, value):
    """Raise UsageError unless `value` is a finite number from 0 up."""
    require(_is(Real, value) and isfinite(value) and value >= 0,
            f"{name} is {value!r}, but must be a number from 0 up")


def check_share(name, value):
    """Raise UsageError unless `value` is a number from 0 up and below 1."""
    require(_is(Real, value) and 0 <= value < 1,
            f"{name} is {value!r}, but must be a number from 0 up and below 1")


def _is(kind, value):
    return isinstance(value, kind) and not isinstance(value, bool)
