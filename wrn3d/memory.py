"""Memory: what there is, what this process has used, what training will take."""
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path, PurePosixPath

from wrn3d.errors import DataError, NotEnoughMemoryError
from wrn3d.parameters import activation_count, network_parameters
from wrn3d.runtime import cpu_has_bfloat16

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


def training_memory(spec, config, data_bytes, workers=1) -> TrainingMemory:
    """The estimate for a network, a TrainingConfig and a data set of so many bytes: for each of
    several workers, which share a batch."""
    weights = 4 * sum(prod(parameter.shape) for parameter in network_parameters(spec))
    # Where the CPU has no instructions for bfloat16, gradients keep the float32 they compute in.
    each = 2 if config.precision == "bfloat16" and cpu_has_bfloat16() else 4
    copies = 2 + bool(config.momentum) + 2 * (config.optimizer == "adam") + bool(config.averaging)
    return TrainingMemory(IMPORTED + data_bytes + weights * copies,
                          activation_count(spec) * each // workers, config.batch_size)


def check_memory(spec, config, data_bytes, workers=1, here=1):
    """Raise NotEnoughMemoryError, which names the batch size that fits, where it is too little for
    one of `workers`, of whom so many are `here`.

    Where there is a GPU, its memory decides, which is not known before TensorFlow is imported."""
    if has_gpu():
        return
    needed = training_memory(spec, config, data_bytes, workers)
    usable = available_memory() / here + resident_memory()  # what this process has is part of it
    if needed.total <= usable:
        return
    fitting = int((usable - needed.fixed) // needed.per_sample)
    raise NotEnoughMemoryError(
        f"training {spec.name} with batches of {config.batch_size} takes about "
        f"{in_gib(needed.total)} of memory{' in each worker' if workers > 1 else ''}, but "
        f"{in_gib(usable)} are free{' for each' if here > 1 else ''}: " +
        (f"batch_size {fitting} would fit" if fitting > 0 else
         "not even one image fits, so choose a smaller network"))


@contextmanager
def enough_for(batch_size, purpose="training"):
    """A context in which running out of memory, also TensorFlow's, is a NotEnoughMemoryError."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        advice = (f"batch_size {batch_size // 2} may fit" if purpose == "training"
                  and batch_size > 1 else "close other programs, or choose a smaller network")
        raise NotEnoughMemoryError(f"there was no memory left for {purpose} with a batch of "
                                   f"{batch_size}: {advice}") from error


def has_gpu() -> bool:
    """Whether the machine has one of NVIDIA's or AMD's, as Linux shows them."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


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
        raise DataError(f"{data} would take more than half of the memory that is free: name a "
                        "smaller --volume-size")
