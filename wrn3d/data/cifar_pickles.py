"""Read CIFAR's pickles without running anything in them."""

import io
import pickle
from typing import Any

import numpy as np

from wrn3d.system.errors import reason
from wrn3d.system.unpickling import RestrictedUnpickler


class PickledArray:
    """Stand in for NumPy's array and dtype in a pickle: keep the arguments, run nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def as_bytes(self) -> np.ndarray:
        """Return the pickled array (N, M) uint8; raise ValueError for any other array."""
        try:
            _, (rows, columns), dtype, fortran_order, content = self.state
            if dtype.arguments[0] not in (b"u1", "u1") or fortran_order:
                raise ValueError("another type of array")
            return np.frombuffer(content, np.uint8).reshape(rows, columns)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ValueError("not an array of rows of bytes") from error


def _encoder(most):
    """Return a stand-in for `_codecs.encode` that encodes at most `most` bytes in total.

    In the official files' protocol, Python 3 pickles bytes as text and a call of that function.
    """
    encoded = 0

    def encode(text, encoding):
        nonlocal encoded
        if encoding not in (b"latin1", "latin1"):
            raise pickle.UnpicklingError("its bytes have another encoding than latin1")
        encoded += len(text)
        if encoded > most:
            raise pickle.UnpicklingError("it decodes to more bytes than the file has")
        return text.encode("latin1")

    return encode


def unpickle(content: bytes) -> dict:
    """Return the dictionary in a CIFAR pickle: its keys are bytes, its arrays PickledArray.

    Raises ValueError for any other content.
    """
    admitted = {
        ("numpy.core.multiarray", "_reconstruct"): PickledArray,
        ("numpy._core.multiarray", "_reconstruct"): PickledArray,
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): PickledArray,
        ("_codecs", "encode"): _encoder(len(content)),
    }
    try:
        batch = RestrictedUnpickler(io.BytesIO(content), admitted).load()
    except Exception as error:  # a malformed pickle can raise anything
        raise ValueError(f"not a pickled CIFAR batch: {reason(error)}") from error
    if not isinstance(batch, dict):
        raise ValueError("not a pickled dictionary")
    return batch
