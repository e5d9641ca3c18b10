"""Memory: what there is, what this process has used, what training will take."""

import os
import sys
from contextlib import contextmanager
from math import inf
from pathlib import Path, PurePosixPath

from wrn3d.system.errors import DataError, NotEnoughMemoryError


@contextmanager
def enough_for(batch_size, purpose="training"):
    """A context in which running out of memory, also TensorFlow's, is a NotEnoughMemoryError."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        advice = (
            f"batch_size {batch_size // 2} may fit"
            if purpose == "training" and batch_size > 1
            else "close other programs, or choose a smaller network"
        )
        raise NotEnoughMemoryError(
            f"there was no memory left for {purpose} with a batch of {batch_size}: {advice}"
        ) from error


def in_gib(count) -> str:
    """A number of bytes, for people."""
    return f"{count / 2**30:.2f} GiB"


def total_memory() -> int | None:
    """The machine's memory in bytes, or None where it is not told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def resident_memory() -> int:
    """The memory that this process holds in bytes, or 0 where it is not told."""
    return _of_this_process("VmRSS") or 0


def peak_memory() -> int | None:
    """The most memory that this process has held so far in bytes, or None where it is not told."""
    if peak := _of_this_process("VmHWM"):
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _of_this_process(name):
    """On Linux, where getrusage also counts the process that this one was started from."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def available_memory() -> float:
    """The bytes that this process may still take; infinite where nothing tells."""
    return min([_free_memory(), *_left_in_groups()])


def _free_memory():
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return total_memory() or inf
    kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return 1024 * (kibibytes["MemAvailable"] + kibibytes["SwapFree"])


def _left_in_groups(membership="/proc/self/cgroup", mounted="/sys/fs/cgroup"):
    """What Linux's control groups, of a container or a batch system, leave: each may have a limit,
    the process's own and those around it."""
    try:
        lines = Path(membership).read_text().splitlines()
    except OSError:
        return
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if controllers == "":  # version 2
            root, limit, usage, cache = mounted, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit = f"{mounted}/memory", "memory.limit_in_bytes"
            usage, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # In a container the group's own folder is often the root of what it sees.
        inner = PurePosixPath(group.lstrip("/"))
        for folder in (Path(root, part) for part in (inner, *inner.parents)):
            try:
                left = int((folder / limit).read_text()) - int((folder / usage).read_text())
                yield left + _number_in(folder / "memory.stat", cache)
            except (OSError, ValueError):  # not there, or "max"
                continue


def _number_in(path, name):
    """Files that were read count as used, but make room."""
    numbers = dict(line.split() for line in path.read_text().splitlines())
    return int(numbers.get(name, 0))


def check_room(data, nbytes):
    """Raise DataError where `data`, described in words, would take so many bytes that they leave
    little for the rest."""
    if nbytes > available_memory() / 2:
        raise DataError(
            f"{data} would take more than half of the memory that is free: name a "
            "smaller --volume-size"
        )
