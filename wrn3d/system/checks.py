"""The checks that several settings share, each with its sentence."""

from numbers import Integral, Real

import numpy as np

from wrn3d.system.errors import UsageError, quoted

LARGEST_COUNT = 2**53
LARGEST = float(np.finfo(np.float32).max)


def require(condition, message):
    """Raise UsageError with `message` unless `condition` holds."""
    if not condition:
        raise UsageError(message)


def check_count(name, value, least=1, most=None) -> int:
    """`value` as an int; UsageError unless it is a whole number, also NumPy's, from `least` up, to
    `most` or what readers of JSON take."""
    until = "up" if most is None else f"to {most:,}"
    require(
        _is(Integral, value) and least <= value <= (most or LARGEST_COUNT),
        f"{name} is {quoted(value)}, but must be a whole number from {least} {until}",
    )
    return int(value)


def check_number(name, value) -> float:
    """`value` as a float; UsageError unless it is a finite number from 0 up."""
    require(
        _is(Real, value) and 0 <= value <= LARGEST,
        f"{name} is {value!r}, but must be a number from 0 up",
    )
    return float(value)


def check_share(name, value) -> float:
    """`value` as a float; UsageError unless it is a number from 0 up and below 1."""
    require(
        _is(Real, value) and 0 <= value < 1,
        f"{name} is {value!r}, but must be a number from 0 up and below 1",
    )
    return float(value)


def check_part(name, value) -> float:
    """`value` as a float; UsageError unless it is a number above 0, up to 1."""
    require(
        _is(Real, value) and 0 < value <= 1,
        f"{name} is {value!r}, but must be a share above 0, up to 1, such as 0.75",
    )
    return float(value)


def check_flag(name, value) -> bool:
    """`value` as a bool; UsageError unless it is one."""
    require(isinstance(value, (bool, np.bool_)), f"{name} is {value!r}, but must be True or False")
    return bool(value)


def check_choice(name, value, choices) -> str:
    """`value`; UsageError unless it is one of `choices`."""
    *others, last = choices
    require(
        value in (*others, last), f"{name} is {value!r}, but must be {', '.join(others)} or {last}"
    )
    return value


def check_each(name, values, check, *arguments) -> tuple:
    """`values`, each as `check` returns it; UsageError unless they are a sequence."""
    require(isinstance(values, (tuple, list)), f"{name} is {values!r}, but must be several")
    return tuple(check(name, value, *arguments) for value in values)


def _is(kind, value):
    return isinstance(value, kind) and not isinstance(value, bool)
