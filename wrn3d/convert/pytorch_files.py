"""Read and write files of PyTorch weights without running code from them."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wrn3d.system.errors import DataError, UserError, quoted, reason
from wrn3d.system.files import require_file, write_atomic
from wrn3d.system.unpickling import RestrictedUnpickler

# Keys that programs give the weights in a file with other contents. The authors' older files have
# a separate key for batch norm's running averages.
WRAPPERS = (("state_dict",), ("params", "stats"), ("model",))
ZIP_START = b"PK\x03\x04"  # PyTorch, too, tells its two formats apart by this
OLDER_PICKLES = 5  # at the start of a file of older PyTorch versions; the fourth has the weights
STORAGES = ["Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"]


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return {name: array} from a .safetensors file, or from a file that `torch.save` wrote.

    Raises MissingDataError if there is no file, DataError for another kind of file, and UserError
    if PyTorch is needed but not installed.
    """
    path = Path(path)
    require_file(path, "name a file of weights")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    torch = _torch(path)
    try:
        _check_contents(path)
        # weights_only: PyTorch's unpickler then makes tensors and containers, and calls no code.
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises nearly anything for a damaged file
        raise DataError(
            f"{path} cannot be read as PyTorch weights ({reason(error)}): name a file that has "
            "only tensors"
        ) from error
    tensors = _tensors(path, saved)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > path.stat().st_size:
        raise DataError(f"{path} claims {claimed:,} bytes of weights, more than the file has")
    return {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], wrapper: str | None = None
) -> None:
    """Write {name: array} as .safetensors, or with `torch.save` if the path has another ending.

    Only `torch.save` uses `wrapper`, a key for the arrays in a dictionary around them. Raises the
    errors of `write_atomic`, and UserError if PyTorch is needed but not installed.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return write_atomic(path, save(dict(arrays)))
    torch = _torch(path)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    contents = io.BytesIO()
    torch.save({wrapper: tensors} if wrapper else tensors, contents)
    return write_atomic(path, contents.getvalue())


def _read_safetensors(path):
    import ml_dtypes  # noqa: F401  (gives NumPy bfloat16)

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read as a safetensors file ({reason(error)})") from error


def _check_contents(path):
    """Raise an exception for contents that PyTorch would read but `torch.save` never writes.

    It refuses compressed entries, which could need a thousand times the file's size in memory, and
    pickles of more than tensors. It loads the pickles with a stand-in for each object.
    """
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            file.seek(0)
            for _ in range(OLDER_PICKLES):
                _TensorUnpickler(file).load()
            return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len({entry.filename.lower() for entry in entries}) < len(entries):
            raise ValueError("it has two entries of one name")  # PyTorch ignores case
        claimed = sum(entry.file_size for entry in entries)
        if claimed > path.stat().st_size or any(entry.compress_type for entry in entries):
            raise ValueError(
                f"it is compressed, as torch.save never does, and unpacks to {claimed:,} bytes"
            )
        for entry in entries:
            if entry.filename.lower().endswith("data.pkl"):
                with archive.open(entry) as file:
                    _TensorUnpickler(file).load()


class _StandIn:
    """Stand-in for every object in a pickle of tensors; it keeps nothing."""

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, name, value):
        pass


class _TensorUnpickler(RestrictedUnpickler):
    """Admit dictionaries of tensors, as `torch.save` writes them, and nothing else."""

    def __init__(self, file):
        rebuild = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
        names = [
            ("collections", "OrderedDict"),
            ("torch", "Size"),
            *(("torch", f"{kind}Storage") for kind in STORAGES),
            *(("torch._utils", name) for name in rebuild),
        ]
        super().__init__(file, dict.fromkeys(names, _StandIn))

    def persistent_load(self, key):  # a storage: its size is limited by the file's
        return _StandIn()


def _torch(path):
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} needs PyTorch, which is not installed: pip install torch, or use a "
            ".safetensors file"
        ) from error
    return torch


def _tensors(path, saved):
    """Return {name: tensor} of a file's contents; raise DataError if one is not dense and real."""
    if not isinstance(saved, dict):
        raise DataError(f"{path} has a {type(saved).__name__}, but must have a dictionary")
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
            raise DataError(f"{path} has {quoted(name)}, which is not a dense array of numbers")
    return saved
