"""The machine that figures were measured on, as data and in a sentence."""
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version

from wrn3d import memory, runtime

INSTRUCTION_SETS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile",
                    "asimd", "sve", "bf16")
SETTINGS = ("OMP_", "ONEDNN_", "DNNL_", "MKL_", "TF_NUM_")  # of the libraries' threads, mostly
DISTRIBUTIONS = ("tensorflow-cpu", "tensorflow", "keras", "tensorlayer", "numpy", "torch")


def describe() -> dict:
    """Processor, cores that this process may use, instruction sets, memory, versions."""
    flags = runtime.cpu_flags()
    return {"cpu": runtime.cpu_name(), "cores": runtime.usable_cores(),
            "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
            "memory_bytes": memory.total_memory(), "system": platform.platform(),
            "environment": {name: value for name, value in sorted(os.environ.items())
                            if name.startswith(SETTINGS)},
            "versions": {"python": platform.python_version(), **_versions()}}


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
