"""How an archive gets to a data directory: found, unpacked or downloaded, never half."""

import gzip
import hashlib
import os
import socket
import tarfile
import tempfile
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wrn3d.system.errors import DataError, MissingDataError, reason
from wrn3d.system.files import UNFINISHED
from wrn3d.system.tensorflow_setup import import_tensorflow
from wrn3d.system.terminal import on_terminal

TIMEOUT = 30  # seconds without an answer before a download is given up
LARGEST_CONTENT = 1 << 30  # bytes; the official archives hold under 200 MB


@dataclass(frozen=True)
class Archive:
    """A tar file on the network, its official MD5 and the one folder that it holds."""

    url: str
    md5: str
    folder: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def find_or_fetch(title: str, archives: list[Archive], data_dir: Path) -> Archive:
    """The first of a data set's archives whose folder lies in `data_dir`; if none does, one
    whose tar file does, unpacked; if none does, the first one, downloaded and unpacked.

    Raises MissingDataError where it cannot be downloaded, DataError for an archive that is not
    the official one or does not unpack.
    """
    try:
        if data_dir.exists() and not data_dir.is_dir():
            raise DataError(
                f"{data_dir} is a file, but should be the folder for data sets: "
                "name another with --data-dir"
            )
        if data_dir.is_dir() and data_dir.name in [archive.folder for archive in archives]:
            raise DataError(
                f"{data_dir} is the data set's own folder: name the one that it lies "
                f"in, --data-dir {data_dir.parent}"
            )
        unpacked = [archive for archive in archives if (data_dir / archive.folder).exists()]
        packed = [archive for archive in archives if (data_dir / archive.file_name).exists()]
    except OSError as error:
        raise DataError(
            f"{data_dir} cannot be read ({reason(error)}): name another folder with --data-dir"
        ) from error
    if unpacked:
        return unpacked[0]
    if packed:
        _unpack(packed[0], data_dir / packed[0].file_name, data_dir)
        return packed[0]
    _download(title, archives[0], data_dir)
    return archives[0]


def _download(title, archive, data_dir):
    with _working_folder(data_dir) as folder:
        import_tensorflow()  # which Keras would bring, noisily
        import keras

        try:
            with _socket_timeout(TIMEOUT), _progress_for_terminals(archive):
                path = keras.utils.get_file(
                    archive.file_name,
                    archive.url,
                    file_hash=archive.md5,
                    hash_algorithm="md5",
                    cache_dir=folder,
                    cache_subdir="",
                )
        except Exception as error:  # get_file raises bare Exceptions
            raise MissingDataError(
                f"{title} is not in {data_dir.absolute()} and could not be downloaded "
                f"({reason(error)}): put {archive.file_name} from {archive.url} there, name "
                "another folder with --data-dir, or use --dataset digits, which needs no "
                "download"
            ) from error
        _unpack(archive, Path(path), data_dir)


def _unpack(archive, path, data_dir):
    """Check and unpack a tar file; its folder appears in `data_dir` whole or not at all."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({reason(error)}): delete it and run again to fetch it anew"
        ) from error
    if found != archive.md5:
        raise DataError(
            f"{path} is not the official archive (its MD5 is {found}, not "
            f"{archive.md5}): delete it and run again to fetch it anew"
        )
    with _working_folder(data_dir) as folder:
        try:
            with tarfile.open(path) as tar:
                tar.extractall(folder, filter=_bounded_data_filter())
            if not (folder / archive.folder).is_dir():
                raise ValueError("it holds something else")
        except (
            tarfile.TarError,
            gzip.BadGzipFile,
            zlib.error,
            EOFError,
            ValueError,
            OverflowError,
        ) as error:
            raise DataError(
                f"{path} does not unpack to {archive.folder} ({reason(error)}): "
                "delete it and run again to fetch it anew"
            ) from error
        except OSError as error:
            raise DataError(
                f"{data_dir} cannot take what {path.name} holds "
                f"({reason(error)}): name another folder with --data-dir"
            ) from error
        with suppress(OSError):  # another process may have been faster
            os.rename(folder / archive.folder, data_dir / archive.folder)


def _bounded_data_filter():
    """tarfile's filter for untrusted data, which also refuses an archive that grows too large."""
    total = 0

    def admit(member, destination):
        nonlocal total
        total += member.size
        if total > LARGEST_CONTENT:
            raise ValueError(f"it holds more than {LARGEST_CONTENT:,} bytes")
        return tarfile.data_filter(member, destination)

    return admit


@contextmanager
def _working_folder(data_dir):
    """A folder in `data_dir` that is gone afterwards, as is `data_dir` if it is new and empty."""
    created = [place for place in (data_dir, *data_dir.parents) if not place.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=data_dir)
    except OSError as error:
        raise DataError(
            f"{data_dir} cannot be written to ({reason(error)}): name another "
            "folder with --data-dir"
        ) from error
    try:
        with folder as name:
            yield Path(name)
    finally:
        with suppress(OSError):  # not empty: it is kept
            for place in created:
                place.rmdir()


@contextmanager
def _progress_for_terminals(archive):
    """Keras's progress bar on a terminal; elsewhere, where it would fill a log, one line."""
    import keras

    interactive = keras.utils.is_interactive_logging_enabled()
    if not on_terminal():
        print(f"Downloading data from {archive.url}", flush=True)
        keras.utils.disable_interactive_logging()
    try:
        yield
    finally:
        if interactive:
            keras.utils.enable_interactive_logging()


@contextmanager
def _socket_timeout(seconds):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
