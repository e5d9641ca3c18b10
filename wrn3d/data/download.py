"""Find, unpack or download an archive in a data directory, atomically."""

import gzip
import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from wrn3d.system.errors import DataError, MissingDataError, reason
from wrn3d.system.files import UNFINISHED, file_errors
from wrn3d.system.terminal import Progress

TIMEOUT = 30  # seconds without an answer before a download fails
BLOCK = 1 << 20  # bytes that are downloaded at a time
LARGEST_CONTENT = 1 << 30  # bytes; the official archives hold under 200 MB
OTHER_FOLDER = "name another folder with --data-dir"
AGAIN = "delete it and run again to download it"
# Exceptions that a damaged archive raises while it is unpacked.
DAMAGES = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError)


@dataclass(frozen=True)
class Archive:
    """A tar file on the network: its address, its official MD5, and the one folder in it."""

    url: str
    md5: str
    folder: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def find_or_fetch(title: str, archives: Sequence[Archive], data_dir: Path) -> Archive:
    """Return the first of a data set's archives that is unpacked in `data_dir`.

    If none is, unpack the first whose tar file is there. If there is no tar file, download the
    first archive and unpack it.

    Raises MissingDataError if the download fails, and DataError for a `data_dir` that cannot be
    used and for an archive that is damaged or not the official one.
    """
    with file_errors(data_dir, "read", OTHER_FOLDER):
        if data_dir.exists() and not data_dir.is_dir():
            raise DataError(
                f"{data_dir} is a file, but should be the folder for data sets: {OTHER_FOLDER}"
            )
        if data_dir.name in [archive.folder for archive in archives] and data_dir.is_dir():
            raise DataError(
                f"{data_dir} is the data set's own folder: name the folder around it, "
                f"--data-dir {data_dir.parent}"
            )
        unpacked = [archive for archive in archives if (data_dir / archive.folder).exists()]
        packed = [archive for archive in archives if (data_dir / archive.file_name).exists()]
    if unpacked:
        return unpacked[0]
    if packed:
        _unpack(packed[0], data_dir / packed[0].file_name, data_dir)
        return packed[0]
    _download(title, archives[0], data_dir)
    return archives[0]


def _download(title, archive, data_dir):
    """Download an archive and unpack it in `data_dir`."""
    with _working_folder(data_dir) as folder:
        path = folder / archive.file_name
        try:
            _retrieve(archive.url, path)
            if (md5 := _md5(path)) != archive.md5:
                raise ValueError(f"it is corrupted: its MD5 is {md5}, not {archive.md5}")
        except (OSError, HTTPException, ValueError) as error:
            raise MissingDataError(
                f"{title} is not in {data_dir.absolute()} and could not be downloaded "
                f"({reason(error)}): put {archive.file_name} from {archive.url} there, name "
                "another folder with --data-dir, or use --dataset digits (in Python "
                'dataset="digits"), which needs no download'
            ) from error
        _unpack(archive, path, data_dir)


def _retrieve(url, path):
    """Download `url` to the file `path`; raise ValueError if the connection ends early."""
    print(f"Downloading data from {url}", flush=True)
    with urlopen(url, timeout=TIMEOUT) as response, path.open("wb") as file:
        size = int(response.headers.get("Content-Length", 0))
        with Progress(size // BLOCK, "MiB downloaded") as progress:
            while block := response.read(BLOCK):
                file.write(block)
                progress.advance()
    if path.stat().st_size < size:
        raise ValueError(f"it ended after {path.stat().st_size:,} of {size:,} bytes")


def _md5(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _unpack(archive, path, data_dir):
    """Check a tar file and unpack its folder to `data_dir`, atomically."""
    with file_errors(path, "read", AGAIN):
        md5 = _md5(path)
    if md5 != archive.md5:
        raise DataError(
            f"{path} is not the official archive (its MD5 is {md5}, not {archive.md5}): {AGAIN}"
        )
    with _working_folder(data_dir) as folder, file_errors(data_dir, "written to", OTHER_FOLDER):
        try:
            with tarfile.open(path) as tar:
                tar.extractall(folder, filter=_bounded_data_filter())
            if not (folder / archive.folder).is_dir():
                raise ValueError("it has no such folder")
        except DAMAGES as error:
            raise DataError(
                f"{path} does not unpack to {archive.folder} ({reason(error)}): {AGAIN}"
            ) from error
        with suppress(OSError):  # another process was faster
            os.rename(folder / archive.folder, data_dir / archive.folder)


def _bounded_data_filter() -> Callable[[tarfile.TarInfo, str], tarfile.TarInfo | None]:
    """Return tarfile's filter for untrusted data, with a limit on the files' total size."""
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
    """Yield a temporary folder in `data_dir`; remove it, and `data_dir` if new and empty."""
    created = [place for place in (data_dir, *data_dir.parents) if not place.exists()]
    with file_errors(data_dir, "written to", OTHER_FOLDER):
        data_dir.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=data_dir)
    try:
        with folder as name:
            yield Path(name)
    finally:
        with suppress(OSError):  # a folder that is not empty stays
            for place in created:
                place.rmdir()
