"""Files that are there whole or not at all."""

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from wrn3d.system.errors import DataError, MissingDataError, reason
from wrn3d.system.memory import available_memory

UNFINISHED = ".unfinished-"  # begins the name of a folder that a killed process may leave


@contextmanager
def atomic_file(path):
    """A context in which a file is written to the path that it gives, beside `path`; then it is
    flushed to the disk and put in its place.

    Raises MissingDataError where the folder is not there, DataError where nothing can be written
    to it (an OSError in the context, too).
    """
    path = Path(path)
    if os.path.isdir(path):  # which is false, and no error, where one may not look
        raise DataError(f"{path} is a folder: name a file in it")
    if not os.path.isdir(path.parent):
        raise MissingDataError(
            f"{path.parent} is no folder: make it, or name another for {path.name}"
        )
    try:
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=path.parent) as folder:
            unfinished = Path(folder) / path.name
            yield unfinished
            flush(unfinished)  # its contents are on the disk before its name is
            os.replace(unfinished, path)
            if os.name != "nt":  # where a folder can't be opened
                flush(path.parent)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({reason(error)}): name another place"
        ) from error


def require_file(path, advice):
    """Raises MissingDataError where there is no file, DataError where it is larger than the
    memory."""
    if not os.path.isfile(path):
        raise MissingDataError(f"{path} is not there, or no file: {advice}")
    if os.path.getsize(path) > available_memory():
        raise DataError(f"{path} has more bytes than there is memory for: {advice}")


def write_atomic(path, contents: bytes) -> None:
    """Write a file as `atomic_file` does, and raise what it does."""
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(contents)


@contextmanager
def file_errors(path, doing="written"):
    """Raises DataError where what is done within fails at a file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be {doing} ({reason(error)})") from error


def append_atomic(path, contents: bytes) -> None:
    """Add to a file in one write, which is taken back where it was cut short (a full disk).

    Raises OSError.
    """
    with Path(path).open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if file.write(contents) != len(contents):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def flush(path):
    """Have a file's contents, or a folder's names, on the disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
