"""Unpickle containers of PyTorch's tensors without PyTorch, and without running code.

Names of classes and functions in a pickle are looked up in `ADMITTED` alone. Nothing is imported.
"""

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import IO, Any

import numpy as np

from wrn3d.system.unpickling import MOST_ARGUMENTS, RestrictedUnpickler, check_keys

MOST_AXES = 64  # of an array

# PyTorch's storage classes -> types of NumPy and ml_dtypes. Newer types have no storage class.
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "int8",
    "QUInt8Storage": "uint8",
    "QInt32Storage": "int32",
    "UntypedStorage": "uint8",
}
DTYPES = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    **{name: name for name in STORAGES.values()},
    **{name: name for name in ("uint16", "uint32", "uint64", "float8_e8m0fnu")},
    **{f"float8_{kind}": f"float8_{kind}" for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz")},
}


@dataclass(eq=False)
class Storage:
    """Bytes that tensors may share; the file has them apart from its pickle."""

    dtype: str
    count: int  # of elements
    content: bytes | None = None


@dataclass(eq=False)
class Tensor:
    """A tensor in a pickle. Only a dense one has an `array`."""

    storage: Any = None
    offset: int = 0  # this and the strides count elements
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dtype: str | None = None  # None: that of the storage
    dense: bool = True

    @property
    def claimed(self) -> int:
        """The bytes that a copy would take. With strides of 0 it is more than the file has."""
        return prod(self.shape) * self._dtype().itemsize

    def array(self) -> np.ndarray:
        """Return a view on the storage; NumPy checks that it stays inside."""
        if self.storage.content is None:
            raise ValueError("it lacks a storage")
        size = self._dtype().itemsize
        strides = [stride * size for stride in self.strides]
        return np.ndarray(
            self.shape, self._dtype(), self.storage.content, self.offset * size, strides
        )

    def _dtype(self) -> np.dtype:
        return numpy_type(self.dtype or self.storage.dtype)


class _StandIn:
    """Stand-in for every other object beside the weights; it keeps nothing."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, name: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


class _Dictionary(dict):
    """Stand-in for the classes of dictionaries; attributes are left out."""

    def __init__(self, pairs: Any = None) -> None:  # or a defaultdict's factory
        super().__init__()
        if type(pairs) is list:  # as Python 2 pickles an OrderedDict
            check_keys(key for key, _ in pairs)
            self.update(pairs)
            pairs.clear()  # a hostile pickle could use one list a million times

    def __setstate__(self, state: Any) -> None:
        pass


def _size(dimensions: Any = ()) -> tuple:
    if type(dimensions) is not tuple:
        raise ValueError("it has an impossible torch.Size")
    return dimensions


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("it has a tensor without a storage")
    if not (
        type(shape) is type(strides) is tuple
        and len(shape) == len(strides) <= MOST_AXES
        and all(map(_is_count, (offset, *shape, *strides)))
    ):
        raise ValueError("it has a tensor of an impossible shape")
    return Tensor(storage, offset, shape, strides)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _tensor_v2(*arguments: Any) -> Tensor:
    tensor = _tensor(*arguments)
    tensor.dense = not arguments[6:]  # marks of complex conjugates and lazy negatives
    return tensor


def _tensor_v3(*arguments: Any) -> Tensor:
    tensor = _tensor(*arguments)
    if arguments[6] not in DTYPES.values():
        raise ValueError("it has a tensor of an unknown type")
    tensor.dtype = arguments[6]
    return tensor


def _not_dense(*_: Any) -> Tensor:
    return Tensor(dense=False)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _tensor_with_attributes(rebuild: Any, _: Any, arguments: Any, *__: Any) -> Any:
    if rebuild not in REBUILD.values() or not 0 < len(arguments) <= MOST_ARGUMENTS:
        raise ValueError("it has a tensor of an unknown class")
    return rebuild(*arguments)


REBUILD = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor_v2,
    "_rebuild_tensor_v3": _tensor_v3,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
    **dict.fromkeys(
        [
            "_rebuild_qtensor",
            "_rebuild_sparse_tensor",
            "_rebuild_nested_tensor",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_device_tensor_from_numpy",
            "_rebuild_device_tensor_from_cpu_tensor",
            "_rebuild_wrapper_subclass",
        ],
        _not_dense,
    ),
}
# What programs save beside the weights: settings, schedules, histories.
BUILTINS = ("set", "frozenset", "list", "dict", "int", "float", "str", "bool", "complex", "slice")
BESIDE = {
    "argparse": ["Namespace"],
    "collections": ["Counter", "deque"],
    "datetime": ["datetime", "date", "time", "timedelta"],
    "numpy": ["dtype", "ndarray"],
    "numpy.core.multiarray": ["scalar", "_reconstruct"],
    "numpy._core.multiarray": ["scalar", "_reconstruct"],
    "pathlib": ["Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"],
    "torch": ["device", "Tensor", "per_tensor_affine", "per_channel_affine"],
    "torch.nn.parameter": ["Parameter", "Buffer"],
    "torch.serialization": ["_get_layout"],
    "types": ["SimpleNamespace"],
    "_codecs": ["encode"],
    "builtins": [*BUILTINS, "range"],
    "__builtin__": [*BUILTINS, "xrange", "unicode", "long"],  # Python 2's names
}
ADMITTED: dict[tuple[str, str], Any] = {
    **{(module, name): _StandIn for module, names in BESIDE.items() for name in names},
    **{("collections", name): _Dictionary for name in ("OrderedDict", "defaultdict")},
    ("torch", "Size"): _size,
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
    **{
        (module, name): dtype
        for module in ("torch", "torch.cuda", "torch.storage")
        for name, dtype in STORAGES.items()
    },
    **{("torch._utils", name): function for name, function in REBUILD.items()},
    ("torch._tensor", "_rebuild_from_type_v2"): _tensor_with_attributes,
}


class TensorUnpickler(RestrictedUnpickler):
    """Admit containers of tensors, as `torch.save` writes them, and what is often beside them.

    `storages` receives {name: Storage} of the storages that the pickle names.
    """

    def __init__(self, file: IO[bytes], storages: dict[str, Storage]) -> None:
        super().__init__(file, ADMITTED)
        self.storages = storages

    def persistent_load(self, key: Any) -> Storage:
        """Return the storage that a pickle names; files before PyTorch 0.4 have views of them."""
        kind, dtype, name, _, count, *view = key
        if as_text(kind) != "storage" or not _is_count(count) or dtype not in STORAGES.values():
            raise ValueError("it has something else than storages beside its pickle")
        if any(view):
            raise ValueError("it shares storages as PyTorch did before 0.4: save it anew")
        return self.storages.setdefault(as_text(name), Storage(dtype, count))


def as_text(name: Any) -> Any:
    """Return bytes, Python 2's strings, as text, and anything else unchanged."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


@cache
def numpy_type(name: str) -> np.dtype:
    import ml_dtypes  # bfloat16 and the types of 8 bits

    return np.dtype(getattr(ml_dtypes, name, name))
