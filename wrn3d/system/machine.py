"""Describe this machine: processor, cores, memory, GPU, installed versions."""

import os
import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from wrn3d.system.memory import total_memory
from wrn3d.system.words import counted

INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_tile",
    "asimd",
    "sve",
    "bf16",
)
# Environment variables of the numerical libraries, mostly about threads, start with these.
SETTINGS = ("OMP_", "ONEDNN_", "DNNL_", "MKL_", "TF_NUM_")
DISTRIBUTIONS = ("tensorflow-cpu", "tensorflow", "keras", "tensorlayer", "numpy", "torch")


def describe() -> dict:
    """Return the properties of this machine that a measurement depends on, as data for JSON.

    They are the processor, the number of cores that this process may use, the instruction sets, the
    memory in bytes, the system, the libraries' environment variables and the installed versions.
    """
    flags = cpu_flags()
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "memory_bytes": total_memory(),
        "system": platform.platform(),
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)
        },
        "versions": _versions(),
    }


def sentence(description: dict) -> str:
    """Return the result of `describe` as one line of text."""
    size, sets = description["memory_bytes"], ", ".join(description["instruction_sets"])
    versions = ", ".join(f"{name} {number}" for name, number in description["versions"].items())
    settings = "".join(f"; {name}={value}" for name, value in description["environment"].items())
    return (
        f"{counted(description['cores'], 'core')} of {description['cpu']}"
        f"{f' ({sets})' if sets else ''}"
        f"{f', {size / 2**30:.0f} GiB' if size else ''}; {versions}{settings}"
    )


def usable_cores() -> int:
    """Return how many of the processor's cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's name."""
    return _cpu_entry("model name") or platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    """Return the instruction sets under Linux's names, or an empty set on other systems."""
    return set((_cpu_entry("flags") or _cpu_entry("Features") or "").split())


def cpu_has_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16 (AVX512_BF16, AMX, or Arm's)."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def cpu_model() -> dict[str, str]:
    """Return what tells one CPU model from another: its name, and Linux's numbers for it."""
    of_x86 = ("vendor_id", "cpu family", "model", "stepping")
    of_arm = ("CPU implementer", "CPU variant", "CPU part", "CPU revision")
    numbers = {key: value for key in of_x86 + of_arm if (value := _cpu_entry(key)) is not None}
    return {"name": cpu_name()} | numbers


def caches() -> list[str]:
    """Return the first core's caches, such as "L2 Unified 1024K of 1 core"; [] if not Linux."""
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with suppress(OSError):
            level, kind, size, shared = (
                (folder / name).read_text().strip()
                for name in ("level", "type", "size", "shared_cpu_map")
            )
            cores = int(shared.replace(",", ""), 16).bit_count()
            found.append(f"L{level} {kind} {size} of {counted(cores, 'core')}")
    return found


def has_gpu() -> bool:
    """Return whether Linux shows an NVIDIA or AMD GPU."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


@cache
def _cpu_entry(key: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return None
    entries = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in entries if name.strip() == key), None)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
