"""The types of voxels. Numbers keep their values: bytes, 16-bit integers or float32."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn3d.system.checks import require
from wrn3d.system.errors import UsageError

Voxels = npt.NDArray[Any]  # of one of TYPES

TYPES = (np.uint8, np.int16, np.uint16, np.float32)
EXACT = 2**24  # integers up to here are exact in float32


def is_float(array: npt.NDArray[Any]) -> bool:
    """Return whether the array's type is floating point: NumPy's, or bfloat16 of ml_dtypes."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def type_for(dtype: npt.DTypeLike) -> npt.DTypeLike:
    """Return one of TYPES that holds all numbers of a type, or float32, which rounds some."""
    return next((one for one in TYPES if np.can_cast(dtype, one)), np.float32)


def as_voxels(name: str, array: npt.NDArray[Any]) -> Voxels:
    """Return an array in one of TYPES.

    Bytes, 16-bit integers and float32 stay unchanged. Other integers become int16, uint16 or
    float32, the first that holds their range; other floating-point types become float32, rounded;
    True and False become 255 and 0. Raises UsageError for complex numbers, texts and
    objects, for NaN and infinite values, and for integers beyond 2^24.
    """
    if array.dtype in TYPES and array.dtype.kind != "f":
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind in "iu":
        return array.astype(_integer_type(name, array))
    require(
        is_float(array),
        f"{name} are {array.dtype}, but must be whole numbers, floating-point numbers or booleans",
    )
    with np.errstate(over="ignore"):  # named below
        voxels = array.astype(np.float32, copy=False)
    check_finite(name, voxels)
    return voxels


def _integer_type(name: str, array: npt.NDArray[Any]) -> Any:
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for one in (np.int16, np.uint16):
        if np.iinfo(one).min <= low and high <= np.iinfo(one).max:
            return one
    require(
        max(-low, high) <= EXACT,
        f"{name} run from {low:,} to {high:,}, but whole numbers must lie within {EXACT:,}: scale "
        "them, such as images / 1000",
    )
    return np.float32


def check_finite(name: str, array: npt.NDArray[Any]) -> None:
    """Raise UsageError if floating-point numbers have NaN or infinite values."""
    if array.size and not np.isfinite([array.min(), array.max()]).all():
        what = "NaN" if np.isnan(array).any() else "infinite values"
        raise UsageError(f"{name} contain {what}: replace them, such as by np.nan_to_num")


def share_a_unit(types: Iterable[Any]) -> bool:
    """Return whether numbers of these types may have one unit: bytes and others do not."""
    return len({np.dtype(one) == np.uint8 for one in types}) == 1


def common_type(types: Iterable[Any]) -> npt.DTypeLike:
    """Return the first of TYPES that holds the numbers of several of them."""
    chosen = set(map(np.dtype, types))
    return next((one for one in TYPES[:3] if _holds(one, chosen)), np.float32)


def _holds(one: Any, others: Iterable[Any]) -> bool:
    return all(np.can_cast(other, one) for other in others)


def rounded(numbers: npt.NDArray[Any], kind: npt.DTypeLike) -> Voxels:
    """Return numbers as one of TYPES; integers are rounded and clipped."""
    if np.dtype(kind).kind == "f":
        return numbers.astype(kind, copy=False)
    limits = np.iinfo(np.dtype(kind))
    return np.rint(numbers).clip(limits.min, limits.max).astype(kind)
