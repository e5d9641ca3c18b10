"""Read CIFAR's pickles without running anything in them."""
import io
import pickle
from typing import ClassVar

import numpy as np

from wrn3d.errors import reason

MOST_OPERATIONS = 2_000_000  # CIFAR-100's training file has half a million


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


def _encode(text, encoding):
    """How Python 3 writes bytes in the pickle protocol that the official files use."""
    if encoding not in (b"latin1", "latin1"):
        raise pickle.UnpicklingError(f"it has bytes as {encoding!r}")
    return text.encode("latin1")


_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledArray,
    ("_codecs", "encode"): _encode,
}


def _counted(operation):
    def operate(self):
        self.operations += 1
        if self.operations > MOST_OPERATIONS:
            raise pickle.UnpicklingError(f"it takes more than {MOST_OPERATIONS:,} steps")
        operation(self)

    return operate


class _Unpickler(pickle._Unpickler):
    """Admits only what CIFAR's files contain.

    Python's own unpickler and not the one in C, which allocates whatever size a memo index in
    the file claims. Here each operation takes a hundred bytes of memory at the most, beside what
    it copies from the file.
    """

    dispatch: ClassVar[dict] = {code: _counted(operation)
                                for code, operation in pickle._Unpickler.dispatch.items()}
    operations = 0

    def find_class(self, module, name):
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]


def unpickle(content: bytes) -> dict:
    """The dictionary in a pickle of CIFAR's: bytes as keys, arrays as PickledArray.

    Raises ValueError for any other pickle or none.
    """
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a malformed pickle can raise anything
        raise ValueError(f"no pickle of a CIFAR batch: {reason(error)}") from error
    if not isinstance(batch, dict):
        raise ValueError("no pickled dictionary")
    return batch
