"""Write files atomically: a reader, or a crash, sees either the whole file or none of it."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wrn3d.system.errors import DataError, MissingDataError, reason
from wrn3d.system.memory import available_memory

UNFINISHED = ".unfinished-"  # starts the name of a folder that a killed process may leave behind
# Errors of file systems that lack an operation, mostly of network mounts.
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
# The same for syncing a folder, also one that may be written but not read.
UNSUPPORTED_FOR_FOLDERS = (*UNSUPPORTED, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR)


@contextmanager
def file_errors(
    path: str | Path, doing: str = "written", advice: str | None = None
) -> Iterator[None]:
    """Turn an OSError raised in the context into a DataError that names `path`."""
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be {doing} ({reason(error)})"
        raise DataError(f"{message}: {advice}" if advice else message) from error


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; on leaving the context, sync its file and rename it to `path`.

    Raises MissingDataError if the folder does not exist, and DataError if the file cannot be
    written or the context raises an OSError.
    """
    path = Path(path)
    if os.path.isdir(path):  # unlike Path.is_dir, no error where access is denied
        raise DataError(f"{path} is a folder: name a file in it")
    if not os.path.isdir(path.parent):
        raise MissingDataError(
            f"{path.parent} is not a folder: create it, or choose another for {path.name}"
        )
    with (
        file_errors(path, advice="name another place"),
        # The file is saved even if the folder cannot be removed, as may happen on NFS.
        tempfile.TemporaryDirectory(
            prefix=UNFINISHED, dir=path.parent, ignore_cleanup_errors=True
        ) as folder,
    ):
        unfinished = Path(folder) / path.name
        yield unfinished
        flush(unfinished)  # the contents reach the disk before the name does
        os.replace(unfinished, path)
        if os.name != "nt":  # Windows cannot open a folder
            flush(path.parent)


def write_atomic(path: str | Path, contents: bytes) -> None:
    """Write a file with `atomic_file`, and raise the same errors."""
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(contents)


def append_atomic(path: str | Path, contents: bytes) -> None:
    """Append to a file in one write, and undo a partial write, such as on a full disk.

    Raises OSError.
    """
    with Path(path).open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if file.write(contents) != len(contents):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def flush(path: Path) -> None:
    """Sync a file's contents, or a folder's entries, to the disk if the file system can.

    Raises OSError.
    """
    is_folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (UNSUPPORTED_FOR_FOLDERS if is_folder else UNSUPPORTED):
            raise


def require_file(path: str | Path, advice: str) -> None:
    """Raise MissingDataError if the file does not exist, DataError if it exceeds free memory."""
    if not os.path.isfile(path):
        raise MissingDataError(f"{path} does not exist or is not a file: {advice}")
    if os.path.getsize(path) > available_memory():
        raise DataError(f"{path} is larger than the free memory: {advice}")
