"""Files of PyTorch weights, read without running code from them."""
import io
import re
import zipfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wrn3d.errors import DataError, MissingDataError, UserError, reason
from wrn3d.files import write_whole

# Where programs keep the weights in a file that holds more; the authors' older ones kept batch
# norm's averages apart.
WRAPPERS = (("state_dict",), ("params", "stats"), ("model",))


def read_arrays(path) -> dict[str, np.ndarray]:
    """{name: array} from a .safetensors file, or from what `torch.save` wrote.

    Raises MissingDataError where there is none, DataError for another kind of file, and UserError
    where PyTorch would be needed, but is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError(f"{path} is not there, or no file: name a file of weights")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    torch = _torch(path)
    _check_uncompressed(path)
    try:
        # weights_only: an unpickler that makes tensors and containers, and calls nothing else.
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, for files that are not what they should be
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it holds {refused[1]}" if refused else type(error).__name__
        raise DataError(f"{path} holds no weights that can be read without running code from it "
                        f"({why})") from error
    tensors = _tensors(path, saved)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > path.stat().st_size:
        raise DataError(f"{path} claims more numbers than it has room for")
    return {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}


def write_arrays(path, arrays, wrapper=None):
    """Write {name: array} as .safetensors, or as `torch.save` does, under the key `wrapper` if one
    is named; raises what `write_whole` does, and UserError where PyTorch is not installed."""
    path = Path(path)
    if path.suffix == ".safetensors":
        return write_whole(path, save(arrays))
    torch = _torch(path)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    contents = io.BytesIO()
    torch.save({wrapper: tensors} if wrapper else tensors, contents)
    return write_whole(path, contents.getvalue())


def _read_safetensors(path):
    import ml_dtypes  # noqa: F401, which gives NumPy bfloat16

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no safetensors file that can be read "
                        f"({reason(error)})") from error


def _check_uncompressed(path):
    """What torch.save writes is a zip file without compression; compressed, a small file could
    take a thousand times its size in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # older PyTorch's, or none at all
    if claimed > path.stat().st_size:
        raise DataError(f"{path} is compressed, which torch.save never does, and would be "
                        f"{claimed:,} bytes")


def _torch(path):
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path} needs PyTorch, which is not installed: pip install -r "
                        "requirements-bench.txt, or use a .safetensors file") from error
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
        dense = (hasattr(tensor, "detach") and not tensor.is_sparse and not tensor.is_quantized
                 and not tensor.is_nested and tensor.device.type == "cpu")
        if not (isinstance(name, str) and dense and not tensor.is_complex()):
            raise DataError(f"{path} holds {name!r}, which is no array of real numbers")
    return saved
