"""Read and write files of PyTorch weights without running code from them."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wrn3d.convert.pytorch_contents import dictionaries, read_saved
from wrn3d.convert.pytorch_names import Arrays, check_type, choose_network, prefixes
from wrn3d.system.errors import DataError, UserError, printable, quoted, reason
from wrn3d.system.files import require_file, write_atomic

# Keys of programs that save the weights in two dictionaries: the authors', and torch.func's.
HALVES = (("params", "stats"), ("params", "buffers"))
MOST_SHARED = 10  # times the file's size that its tensors may claim, by sharing storages
HOW_TO_SAVE = (
    "save the weights alone, in the program that made it, with "
    'torch.save(model.state_dict(), "weights.pt")'
)


def read_arrays(path: str | Path, network: str | None = None) -> Arrays:
    """Return {name: array} of a .safetensors file, or of a file that `torch.save` wrote.

    If the file has several dictionaries, it is the one with a Wide ResNet. `network` chooses it,
    as in `choose_network`.

    Raises MissingDataError if there is no file, and DataError for another kind of file, or if there
    are several networks and `network` names none.
    """
    path = Path(path)
    require_file(path, "name a file of weights")
    found = {"": _read_safetensors(path)} if path.suffix == ".safetensors" else _read_pytorch(path)
    try:
        return choose_network(found, network)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


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
            arrays = {name: _safetensors_array(file, name) for name in file.keys()}  # noqa: SIM118
            # Of names that share a storage, safetensors keeps one, and notes it for the others.
            for name, kept in (file.metadata() or {}).items():
                if kept in arrays:
                    arrays.setdefault(name, arrays[kept])
        _check_claim(path, sum(array.nbytes for array in arrays.values()))
        return arrays
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read as a safetensors file ({reason(error)})") from error


def _safetensors_array(file, name):
    try:
        return file.get_tensor(name)
    except AttributeError as error:  # NumPy lacks types of 8 bits and less
        check_type(name, file.get_slice(name).get_dtype())
        raise ValueError(f"{printable(name)} has an unknown type") from error


def _read_pytorch(path):
    """Return {keys that lead to it: {name: array}} of the dictionaries that have a network.

    If none has one, it is the largest dictionary.
    """
    try:
        found = dictionaries(read_saved(path))
        if not found:
            raise ValueError("it has no dictionary of tensors")
        found = _joined_halves(found)
        chosen = [keys for keys in found if prefixes(found[keys])]
        chosen = chosen or [max(found, key=lambda keys: len(found[keys]))]
        return {keys: _read_tensors(path, found[keys]) for keys in chosen}
    except Exception as error:  # a damaged file can raise anything
        raise DataError(
            f"{path} cannot be read as PyTorch weights ({reason(error)}): {HOW_TO_SAVE}"
        ) from error


def _joined_halves(found):
    """Return the dictionaries, two halves of a network as one."""
    for keys in list(found):
        start = keys.removesuffix("params")
        for first, second in HALVES:
            if keys == start + first and start + second in found:
                found[keys] = found.pop(start + second) | found[keys]
    return found


def _read_tensors(path, tensors):
    for name, tensor in tensors.items():
        if not tensor.dense:
            raise ValueError(f"{quoted(name)} is not a dense array of numbers")
    _check_claim(path, sum(tensor.claimed for tensor in tensors.values()))
    return {name: tensor.array() for name, tensor in tensors.items()}


def _check_claim(path, claimed):
    if claimed > MOST_SHARED * path.stat().st_size:
        raise ValueError(f"it claims {claimed:,} bytes of weights, more than it has")


def _torch(path):
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} needs PyTorch, which is not installed: pip install torch, or use a "
            ".safetensors file"
        ) from error
    return torch
