"""Files that are there whole or not at all."""
import errno
import os
import tempfile
from pathlib import Path

from wrn3d.errors import DataError, MissingDataError, reason

UNFINISHED = ".unfinished-"  # begins the name of a folder that a killed process may leave


def write_whole(path, contents: bytes) -> None:
    """Write the file beside `path`, flush it to the disk, then put it in its place.

    Raises MissingDataError where the folder is not there, DataError where nothing can be written
    to it.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise MissingDataError(f"{path.parent} is no folder: make it, or name another for "
                               f"{path.name}")
    try:
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=path.parent) as folder:
            unfinished = Path(folder) / path.name
            with unfinished.open("wb") as file:
                file.write(contents)
                file.flush()
                os.fsync(file.fileno())  # its contents are on the disk before its name is
            os.replace(unfinished, path)
            _flush_folder(path.parent)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({reason(error)}): name another "
                        "place") from error


def append_whole(path, contents: bytes) -> None:
    """Add to a file in one write, which is taken back where it was cut short (a full disk).

    Raises OSError.
    """
    with Path(path).open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if file.write(contents) != len(contents):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _flush_folder(folder):
    if os.name == "nt":  # where a folder can't be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
