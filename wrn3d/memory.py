"""Memory: what there is, what this process has used, what training will take."""
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path

from wrn3d.errors import NotEnoughMemoryError
from wrn3d.parameters import activation_count, network_parameters

# Bytes of a process that has imported all frameworks, and the room that its work takes (Linux).
IMPORTED = 780_000_000


@dataclass(frozen=True)
class TrainingMemory:
    """About what training holds at most, in bytes; docs/design.md has it beside what was measured.

    `fixed` does not depend on the batch: the process, the data, weights, their gradients and
    momentum. `per_sample` is each layer's output, which is kept for the gradients.
    """

    fixed: int
    per_sample: int
    batch_size: int

    @property
    def total(self) -> int:
        return self.fixed + self.per_sample * self.batch_size


def training_memory(spec, config, data_bytes) -> TrainingMemory:
    """The estimate for a network, a TrainingConfig and a data set of so many bytes."""
    weights = 4 * sum(prod(parameter.shape) for parameter in network_parameters(spec))
    copies = 3 if config.momentum else 2
    return TrainingMemory(IMPORTED + data_bytes + weights * copies,
                          activation_count(spec) * (2 if config.precision == "bfloat16" else 4),
                          config.batch_size)


def check_memory(spec, config, data_bytes):
    """Raise NotEnoughMemoryError, which names the batch size that fits, where it is too little."""
    needed = training_memory(spec, config, data_bytes)
    usable = available_memory() + (peak_memory() or 0)  # what this process has is part of it
    if needed.total <= usable:
        return
    fitting = int((usable - needed.fixed) // needed.per_sample)
    raise NotEnoughMemoryError(
        f"training {spec.name} with batches of {config.batch_size} takes about "
        f"{in_gib(needed.total)} of memory, but {in_gib(usable)} are free: " +
        (f"batch_size {fitting} would fit" if fitting > 0 else
         "not even one image fits, so choose a smaller network"))


@contextmanager
def enough_for(batch_size):
    """A context in which running out of memory, also TensorFlow's, is a NotEnoughMemoryError."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        raise NotEnoughMemoryError(f"there was no memory left for a batch of {batch_size}" + (
            f": batch_size {batch_size // 2} may fit" if batch_size > 1 else "")) from error


def in_gib(count) -> str:
    """A number of bytes, for people."""
    return f"{count / 2**30:.2f} GiB"


def total_memory() -> int | None:
    """The machine's memory in bytes, or None where it is not told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def peak_memory() -> int | None:
    """The most memory that this process has held so far in bytes, or None where it is not told."""
    try:  # Linux, where getrusage also counts the process that this one was started from
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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


def _left_in_groups():
    """What Linux's control groups, of a container or a batch system, leave."""
    try:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, group in groups:
        if controllers == "":  # version 2
            root, limit, usage = "/sys/fs/cgroup", "memory.max", "memory.current"
        elif controllers == "memory":
            root, limit = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
            usage = "memory.usage_in_bytes"
        else:
            continue
        # In a container the group's own folder is often the root of what it sees.
        for folder in (Path(root + group), Path(root)):
            try:
                yield int((folder / limit).read_text()) - int((folder / usage).read_text())
            except (OSError, ValueError):  # not there, or "max"
                continue
