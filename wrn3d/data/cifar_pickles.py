"""Read CIFAR's pickles."""

import io
import pickle

import numpy as np

from wrn3d.system.errors import reason
from wrn3d.system.unpickling import RestrictedUnpickler


class PickledArray:
    """Stands in for NumPy's array and dtype in a pickle: keeps what is said, runs nothing."""

    def __init__(self, *arguments):
        self.arguments, self.state = arguments, None

    def __setstate__(self, state):
        self.state = state

    def as_bytes(self) -> np.ndarray:
        """The two-dimensional uint8 array that the pickle describes; ValueError if it is none."""
        try:
            _, (rows, columns), dtype, fortran_order, content = self.state
            if dtype.arguments[0] not in (b"u1", "u1") or fortran_order:
                raise ValueError("another type of array")
            return np.frombuffer(content, np.uint8).reshape(rows, columns)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ValueError("not an array of rows of bytes") from error


def _encoder(most):
    """How Python 3 writes bytes in the pickle protocol that the official files use: as text that
    `_codecs.encode` takes back, of which there is no more than the file has."""
    encoded = 0

    def encode(text, encoding):
        nonlocal encoded
        if encoding not in (b"latin1", "latin1"):
            raise pickle.UnpicklingError("it has bytes in another encoding than latin1")
        encoded += len(text)
        if encoded > most:
            raise pickle.UnpicklingError("it makes more bytes than it has")
        return text.encode("latin1")

    return encode


def unpickle(content: bytes) -> dict:
    """The dictionary in a pickle of CIFAR's: bytes as keys, arrays as PickledArray.

    Raises ValueError for any other pickle or none.
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
        raise ValueError(f"no pickle of a CIFAR batch: {reason(error)}") from error
    if not isinstance(batch, dict):
        raise ValueError("no pickled dictionary")
    return batch
