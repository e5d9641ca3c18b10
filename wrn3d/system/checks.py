"""Check a setting's value and return it as Python's own type, or raise UsageError.

Each check takes the setting's name first, and its error message begins with that name.
"""

import os
import re
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from wrn3d.system.errors import UsageError, quoted

LARGEST_COUNT = 2**53  # JSON readers keep integers exact up to here
LARGEST = float(np.finfo(np.float32).max)
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a letter alone is a drive of Windows


def require(condition: object, message: str) -> None:
    """Raise UsageError with `message` unless `condition` holds."""
    if not condition:
        raise UsageError(message)


def check_count(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return an integer from `least` to `most` as an int; NumPy's integers pass, too."""
    until = "up" if most is None else f"to {most:,}"
    require(
        _is(value, Integral) and least <= value <= (most or LARGEST_COUNT),
        f"{name} is {quoted(value)}, but must be a whole number from {least} {until}",
    )
    return int(value)


def check_power_of_two(name: str, value: Any) -> int:
    """Return the number if it is 1, 2, 4, 8, ..., else raise UsageError."""
    number = check_count(name, value)
    require(number & (number - 1) == 0, f"{name} is {number}, but must be 1, 2, 4, 8, ...")
    return number


def check_number(name: str, value: Any) -> float:
    """Return a finite number from 0 up as a float."""
    return _check_real(name, value, lambda x: 0 <= x <= LARGEST, "number from 0 up")


def check_share(name: str, value: Any) -> float:
    """Return a number from 0 up and below 1 as a float."""
    return _check_real(name, value, lambda x: 0 <= x < 1, "number from 0 up and below 1")


def check_part(name: str, value: Any) -> float:
    """Return a number above 0 and up to 1 as a float."""
    expected = "fraction above 0, up to 1, such as 0.75"
    return _check_real(name, value, lambda x: 0 < x <= 1, expected)


def check_flag(name: str, value: Any) -> bool:
    """Return True or False as a bool; NumPy's booleans pass, too."""
    require(
        isinstance(value, (bool, np.bool_)), f"{name} is {quoted(value)}, but must be True or False"
    )
    return bool(value)


def check_text(name: str, value: Any) -> str:
    """Return a text that is not empty."""
    require(isinstance(value, str) and value, f"{name} has {quoted(value)}, but must have texts")
    return value


def check_choice(name: str, value: Any, choices: Iterable) -> Any:
    """Return `value` if it is one of the texts `choices`."""
    *others, last = choices
    expected = f"{', '.join(others)} or {last}" if others else last
    require(
        isinstance(value, str) and value in (*others, last),
        f"{name} is {quoted(value)}, but must be {expected}",
    )
    return value


def check_path(name: str, value: Any) -> Path:
    """Return the path of a file or folder as a Path; refuse URLs and the empty text."""
    try:
        path = Path(value)
        valid = str(value) and b"\0" not in os.fsencode(path)
    except (TypeError, ValueError):  # no text, or characters that no file name can have
        valid = False
    require(valid, f"{name} is {quoted(value)}, but must be the path of a file or folder")
    require(
        not URL.match(str(value)),
        f"{name} is {quoted(str(value))}, but must be a path, not a URL: mount the storage or copy "
        "the files",
    )
    return path


def check_each(name: str, values: Any, check: Callable, *arguments: Any) -> tuple:
    """Return the results of `check(name, value, *arguments)` for each value of a tuple or list."""
    require(isinstance(values, (tuple, list)), f"{name} is {quoted(values)}, but must be a list")
    return tuple(check(name, value, *arguments) for value in values)


def _check_real(name: str, value: Any, holds: Callable[[Any], bool], expected: str) -> float:
    require(
        _is(value, Real) and holds(value), f"{name} is {quoted(value)}, but must be a {expected}"
    )
    return float(value)


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
