"""Measure memory in bytes: the machine's, this process's, and how much is still available."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path, PurePosixPath

from wrn3d.system.errors import DataError, NotEnoughMemoryError


@contextmanager
def enough_for(batch_size: int, purpose: str = "training") -> Iterator[None]:
    """Turn running out of memory, in NumPy or TensorFlow, into a NotEnoughMemoryError."""
    try:
        yield
    except Exception as error:
        # By name, since TensorFlow may not have been imported.
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


def check_room(data: str, nbytes: int, advice: str = "name a smaller --volume-size") -> None:
    """Raise DataError if `nbytes` exceed half of the available memory; `data` names the data."""
    most = available_memory() / 2
    if nbytes > most:
        raise DataError(
            f"{data} would take {in_gib(nbytes)}, but may take half of the free memory, "
            f"{in_gib(most)}: {advice}"
        )


def in_gib(count: float) -> str:
    """Return a number of bytes as text in GiB."""
    return f"{count / 2**30:.2f} GiB"


def total_memory() -> int | None:
    """Return the machine's memory, or None if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def resident_memory() -> int:
    """Return the memory that this process holds now, or 0 if the system does not tell."""
    return _process_status("VmRSS") or 0


def peak_memory() -> int | None:
    """Return the most memory that this process has held, or None if the system does not tell."""
    # getrusage comes second: on Linux its peak includes that of the parent process.
    if peak := _process_status("VmHWM"):
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory() -> float:
    """Return how much memory this process may still take; infinity if nothing limits it."""
    return min([_free_memory(), *_left_in_control_groups()])


def _process_status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _free_memory() -> float:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return total_memory() or inf
    kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return 1024 * (kibibytes["MemAvailable"] + kibibytes["SwapFree"])


def _left_in_control_groups(
    membership: str | Path = "/proc/self/cgroup", mounted: str | Path = "/sys/fs/cgroup"
) -> Iterator[int]:
    """Yield the memory left in each Linux control group that limits this process.

    Containers and batch systems limit the process's own group and the groups that contain it.
    """
    try:
        lines = Path(membership).read_text().splitlines()
    except OSError:  # not Linux
        return
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if controllers == "":  # version 2
            root, limit, usage, cache = mounted, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit = f"{mounted}/memory", "memory.limit_in_bytes"
            usage, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # A container often sees its own group's folder as the root.
        inner = PurePosixPath(group.lstrip("/"))
        for folder in (Path(root, part) for part in (inner, *inner.parents)):
            with suppress(OSError, ValueError):  # no such folder, or no limit: "max"
                left = int((folder / limit).read_text()) - int((folder / usage).read_text())
                # The usage includes the cache of files, which the system drops if needed.
                lines = (folder / "memory.stat").read_text().splitlines()
                yield left + int(dict(map(str.split, lines)).get(cache, 0))
