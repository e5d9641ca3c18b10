"""Compute the same bits on every x86 CPU with AVX2: one instruction set, one size of each cache.

oneDNN computes TensorFlow's convolutions, matrix products and batch norm. It has different code for
each instruction set, and adds in blocks that fit the caches. TensorFlow's own ops are compiled for
AVX, which leaves no choice.
"""

import ctypes
import mmap
import os
import platform
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wrn3d.system.checks import require
from wrn3d.system.machine import cpu_flags
from wrn3d.system.tensorflow_setup import check_process, import_tensorflow

ENVIRONMENT = {"ONEDNN_MAX_CPU_ISA": "AVX2", "TF_ENABLE_ONEDNN_OPTS": "1"}
NUMPY = ("OPENBLAS_CORETYPE", "Haswell")  # OpenBLAS reads it when NumPy is imported
LIBRARY, VERSION = "libtensorflow_cc.so.2", "2.21."
OTHER_BUILD = "portable knows TensorFlow 2.21 alone, and this is another build: leave it out"
# Of oneDNN 3.7, in TensorFlow 2.21: a function that returns the CPU's description, one that returns
# the bytes of a cache level for a core, and the place of the number of levels in the description.
DESCRIPTION = "_ZN4dnnl4impl3cpu3x643cpuEv"
CACHE_SIZE = "_ZN4dnnl4impl3cpu8platform23get_per_core_cache_sizeEi"
LEVELS_OFFSET, MOST_LEVELS = 108, 10
SIZES = [2**15, 2**19, 2**20]  # what oneDNN assumes of a CPU that describes no caches
# Parts of an ELF file.
SYMBOL = np.dtype("<u4, u1, u1, <u2, <u8, <u8")  # name, info, other, section, value, size
SYMBOL_TABLE = 2

_portable = False  # whether this process computes portably


def choose_instructions(portable: bool, resizing: bool = False) -> None:
    """Let TensorFlow compute portably in this process, or leave it to choose by the CPU.

    Call it before TensorFlow is imported. With `resizing`, NumPy's matrix products must be portable
    as well. Raises UsageError on a machine that cannot compute portably, and in a process that has
    chosen otherwise.
    """
    global _portable
    if not portable:
        require(
            not _portable,
            "this process computes portably, so portable=False would give other results than "
            "elsewhere: use another process for it",
        )
        return
    require(
        sys.platform == "linux"
        and platform.machine() == "x86_64"
        and {"avx2", "fma"} <= cpu_flags(),
        "portable needs Linux on an x86 CPU with AVX2 and FMA: leave it out",
    )
    name, value = NUMPY
    require(
        not resizing or os.environ.get(name) == value,
        "portable cannot choose the instructions of NumPy, which resizes the images: set "
        f"{name}={value} before Python starts",
    )
    chosen = {name: os.environ.get(name) for name in ENVIRONMENT}
    require(
        "tensorflow" not in sys.modules or chosen == ENVIRONMENT,
        "portable chooses TensorFlow's instructions, but TensorFlow is imported already: make this "
        "CNNEnv before anything imports it, or set "
        f"{' '.join(f'{name}={value}' for name, value in ENVIRONMENT.items())} outside",
    )
    os.environ |= ENVIRONMENT
    _portable = True
    import_tensorflow()
    check_process()
    import tensorflow as tf

    require(
        not tf.config.list_physical_devices("GPU"),
        "portable is for CPUs: hide the GPUs with CUDA_VISIBLE_DEVICES=-1",
    )
    require(tf.__version__.startswith(VERSION), OTHER_BUILD)
    _fix_cache_sizes(Path(tf.sysconfig.get_lib(), LIBRARY))


def _fix_cache_sizes(library: Path) -> None:
    """Let oneDNN assume SIZES instead of this CPU's caches; it has no setting for that."""
    addresses = _addresses(library, [DESCRIPTION, CACHE_SIZE]) if library.is_file() else {}
    known = len(addresses) == 2
    description = known and ctypes.CFUNCTYPE(ctypes.c_void_p)(addresses[DESCRIPTION])()
    if known := bool(description):
        levels = ctypes.c_uint32.from_address(description + LEVELS_OFFSET)
        if known := levels.value <= MOST_LEVELS:
            levels.value = 0
            size: Callable[[int], int] = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int)(
                addresses[CACHE_SIZE]
            )
            known = [size(level) for level in (1, 2, 3)] == SIZES
    require(known, OTHER_BUILD)


def _addresses(library: Path, names: list[str]) -> dict[str, int]:
    """Return {name: address} of functions of a loaded library that it does not export."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as elf:
        [start] = struct.unpack_from("<Q", elf, 40)
        length, count = struct.unpack_from("<HH", elf, 58)
        # Each section: name, type, flags, address, offset, size, link, ...
        sections = [
            struct.unpack_from("<IIQQQQI", elf, start + number * length) for number in range(count)
        ]
        table = next((one for one in sections if one[1] == SYMBOL_TABLE), None)
        if table is None:  # a stripped library
            return {}
        symbols = np.frombuffer(elf[table[4] : table[4] + table[5]], SYMBOL)
        strings, size = sections[table[6]][4:6]
        places = {name: elf.find(f"{name}\0".encode(), strings, strings + size) for name in names}
    base = _base(library)
    found = {name: symbols["f4"][symbols["f0"] == at - strings] for name, at in places.items()}
    return {name: base + int(values[0]) for name, values in found.items() if len(values)}


def _base(library: Path) -> int:
    """Return the address at which a library is loaded."""
    lines: Any = Path("/proc/self/maps").read_text().splitlines()
    first = next(line for line in lines if line.endswith(f"/{library.name}"))
    return int(first.split("-")[0], 16)
