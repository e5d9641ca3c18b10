"""The machine that figures were measured on, as data and in a sentence."""

import json
import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from wrn3d.system import memory

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
SETTINGS = ("OMP_", "ONEDNN_", "DNNL_", "MKL_", "TF_NUM_")  # of the libraries' threads, mostly
DISTRIBUTIONS = ("tensorflow-cpu", "tensorflow", "keras", "tensorlayer", "numpy", "torch")


def describe() -> dict:
    """Processor, cores that this process may use, instruction sets, memory, versions."""
    flags = cpu_flags()
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "memory_bytes": memory.total_memory(),
        "system": platform.platform(),
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)
        },
        "versions": {"python": platform.python_version(), **_versions()},
    }


def sentence(found) -> str:
    """What `describe` found, in a line."""
    memory = f", {found['memory_bytes'] / 2**30:.0f} GiB" if found["memory_bytes"] else ""
    sets = f" ({', '.join(found['instruction_sets'])})" if found["instruction_sets"] else ""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    settings = "".join(f"; {name}={value}" for name, value in found["environment"].items())
    return f"{found['cores']} cores of {found['cpu']}{sets}{memory}; {versions}{settings}"


def write(path, found):
    """Write it as JSON."""
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _versions():
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu_has_bfloat16() -> bool:
    """Whether the processor is known to have them (AVX512_BF16, AMX, Arm's)."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def usable_cores() -> int:
    """The processor's cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def cpu_name() -> str:
    """What the processor calls itself."""
    return _cpu_entry("model name") or platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    """The processor's instruction sets, under Linux's names; empty where nothing tells."""
    return set((_cpu_entry("flags") or _cpu_entry("Features") or "").split())


@cache
def _cpu_entry(key):
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((line.split(":")[1].strip() for line in lines if line.startswith(key)), None)


def has_gpu() -> bool:
    """Whether the machine has one of NVIDIA's or AMD's, as Linux shows them."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()
