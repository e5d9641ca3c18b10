"""Files of PyTorch weights, read without running code from them."""

import io
import zipfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wrn3d.system.errors import DataError, UserError, quoted, reason
from wrn3d.system.files import require_file, write_atomic
from wrn3d.system.unpickling import RestrictedUnpickler

# Where programs keep the weights in a file that holds more; the authors' older ones kept batch
# norm's averages apart.
WRAPPERS = (("state_dict",), ("params", "stats"), ("model",))
ZIP_START = b"PK\x03\x04"  # by which PyTorch, too, tells its two formats apart
OLDER_PICKLES = 5  # at the start of a file of older PyTorch's: the fourth holds the weights


def read_arrays(path) -> dict[str, np.ndarray]:
    """{name: array} from a .safetensors file, or from what `torch.save` wrote.

    Raises MissingDataError where there is none, DataError for another kind of file, and UserError
    where PyTorch would be needed, but is not installed.
    """
    path = Path(path)
    require_file(path, "name a file of weights")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    torch = _torch(path)
    try:
        _check_contents(path)
        # weights_only: an unpickler that makes tensors and containers, and calls nothing else.
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, for files that are not what they should be
        raise DataError(
            f"{path} holds no weights that can be read without running code from it "
            f"({reason(error)})"
        ) from error
    tensors = _tensors(path, saved)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > path.stat().st_size:
        raise DataError(f"{path} claims more numbers than it has room for")
    return {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}


def write_arrays(path, arrays, wrapper=None):
    """Write {name: array} as .safetensors, or as `torch.save` does, under the key `wrapper` if one
    is named; raises what `write_atomic` does, and UserError where PyTorch is not installed."""
    path = Path(path)
    if path.suffix == ".safetensors":
        return write_atomic(path, save(arrays))
    torch = _torch(path)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    contents = io.BytesIO()
    torch.save({wrapper: tensors} if wrapper else tensors, contents)
    return write_atomic(path, contents.getvalue())


def _read_safetensors(path):
    import ml_dtypes  # noqa: F401, which gives NumPy bfloat16

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no safetensors file that can be read ({reason(error)})"
        ) from error


def _check_contents(path):
    """Raises an exception for what PyTorch would read, but `torch.save` would not write of weights:
    compression, by which a small file could take a thousand times its size in memory, and pickles
    that ask for more than tensors. Those are tried out with stand-ins."""
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            file.seek(0)
            for _ in range(OLDER_PICKLES):
                _TensorUnpickler(file).load()
            return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len({entry.filename.lower() for entry in entries}) < len(entries):
            raise ValueError("it has two entries of one name")  # PyTorch reads names in any case
        claimed = sum(entry.file_size for entry in entries)
        if claimed > path.stat().st_size or any(entry.compress_type for entry in entries):
            raise ValueError(
                f"it is compressed, which torch.save never does, and would be {claimed:,} bytes"
            )
        for entry in entries:
            if entry.filename.lower().endswith("data.pkl"):
                with archive.open(entry) as file:
                    _TensorUnpickler(file).load()


class _StandIn:
    """For what a pickle of tensors makes and fills: keeps nothing of it."""

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, name, value):
        pass


class _TensorUnpickler(RestrictedUnpickler):
    """Admits what `torch.save` writes of tensors in dictionaries."""

    def __init__(self, file):
        names = [
            ("collections", "OrderedDict"),
            *(
                ("torch._utils", name)
                for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
            ),
        ]
        names += [
            ("torch", f"{kind}Storage")
            for kind in (
                "Double",
                "Float",
                "Half",
                "BFloat16",
                "Long",
                "Int",
                "Short",
                "Char",
                "Byte",
                "Bool",
            )
        ]
        super().__init__(file, dict.fromkeys([*names, ("torch", "Size")], _StandIn))

    def persistent_load(self, key):  # a storage, which has no more than the file
        return _StandIn()


def _torch(path):
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} needs PyTorch, which is not installed: pip install -r "
            "requirements-bench.txt, or use a .safetensors file"
        ) from error
    return torch


def _tensors(path, saved):
    """{name: tensor}, dense ones of real numbers."""
    if not isinstance(saved, dict):
        raise DataError(f"{path} holds {type(saved).__name__}, not a dictionary of weights")
    for keys in WRAPPERS:
        parts = [saved[key] for key in keys if isinstance(saved.get(key), dict)]
        if parts:
            saved = {name: tensor for part in parts for name, tensor in part.items()}
            break
    for name, tensor in saved.items():
        dense = (
            hasattr(tensor, "detach")
            and not tensor.is_sparse
            and not tensor.is_quantized
            and not tensor.is_nested
            and tensor.device.type == "cpu"
        )
        if not (isinstance(name, str) and dense and not tensor.is_complex()):
            raise DataError(f"{path} holds {quoted(name)}, which is no array of real numbers")
    return saved
