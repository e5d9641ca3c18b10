"""Read files of `torch.save` and find the dictionaries of tensors in them.

A file has pickles and, apart from them, the bytes of the storages that its tensors share.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from wrn3d.convert.pytorch_pickles import Storage, Tensor, TensorUnpickler, as_text, numpy_type
from wrn3d.system.errors import quoted

ZIP_START = b"PK\x03\x04"  # PyTorch, too, tells its two formats apart by this
OLDER_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the pickles of the older format
DAMAGED = "its storages are damaged"
LONGEST_NAME = 200  # characters; longer names would make a hostile file slow
DEEPEST = 8  # dictionaries in dictionaries
CONTAINERS = (dict, list, tuple)


def read_saved(path: Path) -> Any:
    """Return what `torch.save` wrote, with a Tensor for each tensor.

    Raises any exception for a damaged file or one of another kind.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        zipped = file.read(len(ZIP_START)) == ZIP_START
        file.seek(0)
        if not zipped:
            return _read_older(file, size)
        with zipfile.ZipFile(file) as archive:
            return _read_zip(archive, size)


def _read_zip(archive: zipfile.ZipFile, size: int) -> Any:
    entries = archive.infolist()
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise ValueError("it has two entries of one name")  # PyTorch ignores case
    claimed = sum(entry.file_size for entry in entries)
    if claimed > size or any(entry.compress_type for entry in entries):
        raise ValueError(
            f"it is compressed, as torch.save never does, and unpacks to {claimed:,} bytes"
        )
    names = {entry.filename.lower(): entry.filename for entry in entries}
    pickles = [name for name in names if name.endswith("data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"it has {len(pickles)} entries data.pkl, but torch.save writes one")
    root = pickles[0].removesuffix("data.pkl")
    order = names.get(f"{root}byteorder")
    _check_order(order is None or archive.read(order) == b"little")
    storages: dict[str, Storage] = {}
    with archive.open(names[pickles[0]]) as file:
        saved = TensorUnpickler(file, storages).load()
    for name, storage in storages.items():
        entry = names.get(f"{root}data/{name.lower()}")
        if entry:
            storage.content = archive.read(entry)
    return saved


def _read_older(file: IO[bytes], size: int) -> Any:
    storages: dict[str, Storage] = {}
    magic, _, system, saved, names = (TensorUnpickler(file, storages).load() for _ in range(5))
    if magic != OLDER_MAGIC:
        raise ValueError("it does not start as files of torch.save do")
    _check_order({as_text(name): value for name, value in system.items()}["little_endian"])
    for name in map(as_text, names):
        # Before its bytes, each storage has its number of elements.
        count, storage = int.from_bytes(file.read(8), "little"), storages.get(name)
        if not storage or storage.count != count:
            raise ValueError(DAMAGED)
        length = count * numpy_type(storage.dtype).itemsize
        if file.tell() + length > size:
            raise ValueError(DAMAGED)
        storage.content = file.read(length)
    return saved


def _check_order(little: bool) -> None:
    if not little:
        raise ValueError("it was written on a machine with another order of bytes")


def dictionaries(saved: Any) -> dict[str, dict[str, Tensor]]:
    """Return {keys that lead to it, joined by dots: {name: Tensor}} of all dictionaries of tensors.

    The search is breadth first, so a dictionary in several places has its shortest name.
    """
    found: dict[str, dict[str, Tensor]] = {}
    # Each container with the keys that lead to it, ((((), key), key), ...).
    level: list[tuple[Any, Any]] = [((), saved)] if isinstance(saved, CONTAINERS) else []
    seen = {id(saved)}  # a pickle's containers may contain themselves
    for _ in range(DEEPEST):
        below = []
        for keys, container in level:
            tensors = {}
            for name, value in _named_entries(container):
                if isinstance(value, Tensor) and isinstance(name, str):
                    tensors[name] = value
                elif isinstance(value, CONTAINERS) and id(value) not in seen:
                    seen.add(id(value))
                    below.append(((keys, name), value))
            if tensors and found.setdefault(_joined(keys), tensors) is not tensors:
                raise ValueError(f"it has two dictionaries {quoted(_joined(keys))}")
        level = below
    return found


def _named_entries(container: Any) -> Iterator[tuple[Any, Any]]:
    entries = container.items() if isinstance(container, dict) else enumerate(container)
    for name, value in entries:
        name = as_text(name)
        if isinstance(name, int) or len(name) <= LONGEST_NAME:
            yield name, value


def _joined(keys: Any) -> str:
    names: list[str] = []
    while keys:
        keys, name = keys
        names.append(str(name))
    return ".".join(reversed(names))
