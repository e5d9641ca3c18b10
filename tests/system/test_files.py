"""Files are saved where the file system lacks some operations, and only then without them."""

import errno
import os
import stat
import warnings

import pytest

from tests.runs.test_folder import checkpoint_at, log_iterations
from wrn3d.runs.folder import RunFolder
from wrn3d.system import files
from wrn3d.system.errors import DataError

LACKING = [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP]
DENIED = [errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR]
LOST = [errno.EIO, errno.ENOSPC]


def failing(function, number, kinds):
    """Return `function` of a descriptor, but it fails with `number` for these kinds of files."""

    def fail(descriptor, *arguments):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        if kind in kinds:
            raise OSError(number, os.strerror(number))
        return function(descriptor, *arguments)

    return fail


def save_twice(folder):
    """Keep a run's folder: two checkpoints and their logs."""
    with RunFolder(folder, save_every=1) as run:
        run.start(0, validates=False)
        for iteration in (1, 2):
            log_iterations(run, iteration)
            run.save(checkpoint_at(iteration))
    assert RunFolder(folder).newest()[0].iteration == 2


@pytest.mark.parametrize(
    "number, kinds",
    [(number, ("folder",)) for number in LACKING + DENIED]
    + [(number, ("folder", "file")) for number in LACKING],
)
def test_runs_are_kept_where_nothing_can_be_synced(tmp_path, monkeypatch, number, kinds):
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number, kinds))
    save_twice(tmp_path / "run")
    checkpoint_at(3).save(tmp_path / "one.safetensors")


@pytest.mark.parametrize("number", LOST + DENIED)
def test_contents_that_do_not_reach_the_disk_are_reported(tmp_path, monkeypatch, number):
    files.write_atomic(tmp_path / "x", b"old")
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number, ("file",)))
    with pytest.raises(DataError, match="x cannot be written"):
        files.write_atomic(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"


@pytest.mark.parametrize("number", LOST)
def test_a_folder_that_loses_its_entries_is_reported(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number, ("folder",)))
    with pytest.raises(DataError, match="x cannot be written"):
        files.write_atomic(tmp_path / "x", b"new")


def test_a_leftover_does_not_undo_what_is_saved(tmp_path, monkeypatch):
    """Fail to remove the temporary folder, as on NFS while a client has a file in it open."""

    def refuse(path, *arguments, **options):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    monkeypatch.setattr(os, "rmdir", refuse)
    files.write_atomic(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_runs_are_kept_where_nothing_can_be_locked(tmp_path, monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", failing(fcntl.flock, number, ("file",)))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        save_twice(tmp_path / "run")
    assert len(warned) == 1
