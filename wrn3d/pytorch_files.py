"""Files of PyTorch weights, read without running code from them."""
import io
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
    try:
        # weights_only: an unpickler that makes tensors and containers, and calls nothing else.
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, for files that are not what they should be
        raise DataError(f"{path} holds no weights that can be read without running code from it "
                        f"({type(error).__name__}: {reason(error)})") from error
    return {name: _array(path, name, tensor) for name, tensor in _tensors(path, saved).items()}


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
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no safetensors file that can be read "
                        f"({reason(error)})") from error


def _torch(path):
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path} needs PyTorch, which is not installed: pip install -r "
                        "requirements-bench.txt, or use a .safetensors file") from error
    return torch


def _tensors(path, saved):
    if not isinstance(saved, dict):
        raise DataError(f"{path} holds {type(saved).__name__}, not a dictionary of weights")
    for keys in WRAPPERS:
        if isinstance(saved.get(keys[0]), dict):
            return {name: tensor for key in keys for name, tensor in saved.get(key, {}).items()}
    return saved


def _array(path, name, tensor):
    if not hasattr(tensor, "detach"):
        raise DataError(f"{path} holds {name}, which is no array but {type(tensor).__name__}")
    return tensor.detach().float().numpy()
