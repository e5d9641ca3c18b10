"""Measure the memory and watch the calls of a reader."""

import ctypes
from contextlib import contextmanager
from pathlib import Path

import pytest

from wrn3d.system.errors import UserError
from wrn3d.system.memory import peak_memory, resident_memory

FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen"),
    *("socket.connect", "pickle.find_class", "pty.spawn", "webbrowser.open"),
}


@contextmanager
def memory_measured():
    """Yield a list, and at the end append the peak growth of this process in bytes."""
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that is still held would hide growth
    Path("/proc/self/clear_refs").write_text("5")  # makes Linux forget the earlier peak
    before, grown = resident_memory(), []
    try:
        yield grown
    finally:
        grown.append(peak_memory() - before)


def refused_cheaply(read, path, sentence, most=100e6):
    """Check that `read(path)` raises UserError with `sentence` and takes less than `most` bytes."""
    with memory_measured() as grown, pytest.raises(UserError, match=sentence):
        read(path)
    assert grown[0] < most
