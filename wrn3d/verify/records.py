"""The recorded digests of each CPU, kept by what decides the bits.

These are the versions of the libraries, the CPU's model, its instruction sets, its caches (oneDNN
and Eigen cut their work to fit them) and the environment variables that choose instructions.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, TypeAlias

from wrn3d.system import machine, tensorflow_setup
from wrn3d.system.errors import DataError, reason
from wrn3d.system.files import file_errors, write_atomic

Digests: TypeAlias = dict[str, dict[str, str]]  # {check: {output: digest}}
VERSIONS = ("tensorflow", "keras", "tensorlayer", "numpy")
INSTRUCTIONS = re.compile("(sse4|avx|fma|f16c|amx|asimd|sve|sme(?!p)|bf16|i8mm)")  # how flags start
SETTINGS = re.compile(
    "(ONEDNN|DNNL)_(MAX_CPU_ISA|CPU_ISA_HINTS|DEFAULT_FPMATH_MODE)"
    "|TF_ENABLE_ONEDNN_OPTS|(TF_)?XLA_FLAGS"
    "|OPENBLAS_CORETYPE|NPY_(DIS|EN)ABLE_CPU_FEATURES"  # of NumPy, which resizes images
)
FOLDER = Path(__file__).parent / "records"


def digest(contents: Any) -> str:
    """Return a digest of an array's bits or of a text, 16 hexadecimal digits."""
    data = contents.encode() if isinstance(contents, str) else contents.tobytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def total(digests: Digests) -> str:
    """Return one digest of all digests."""
    return digest(json.dumps(digests))


def this_machine(portable: bool = False) -> dict[str, Any]:
    """Return what decides the bits here, as data for JSON: the versions alone if portable."""
    versions = tensorflow_setup.versions()
    if portable:
        return {
            "cpu": {"name": "portable"},
            "versions": {name: versions[name] for name in VERSIONS},
        }
    return {
        "cpu": machine.cpu_model(),
        "instructions": sorted(filter(INSTRUCTIONS.match, machine.cpu_flags())),
        "caches": machine.caches(),
        "versions": {name: versions[name] for name in VERSIONS},
        "settings": {
            name: value for name, value in sorted(os.environ.items()) if SETTINGS.fullmatch(name)
        },
    }


def file_name(decisive: dict[str, Any]) -> str:
    """Return the name of a machine's file, such as "amd-epyc-0123456789abcdef.json"."""
    words = re.findall("[a-z0-9]+", decisive["cpu"]["name"].lower())
    return f"{'-'.join([*words, digest(json.dumps(decisive))])}.json"


def find(decisive: dict[str, Any]) -> Digests | None:
    """Return the digests recorded in the package for a machine, or None; raises DataError."""
    path = FOLDER / file_name(decisive)
    if not path.is_file():
        return None
    try:
        digests = json.loads(path.read_text(encoding="utf-8"))["digests"]
        if not isinstance(digests, dict) or not all(
            isinstance(one, dict) for one in digests.values()
        ):
            raise ValueError("digests are expected by check and output")
        return digests
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({reason(error)}): install wrn3d again") from error


def make_folder(folder: Path) -> None:
    """Make the folder for a record, if it is missing; raises DataError."""
    with file_errors(folder, advice="name another folder with --record"):
        folder.mkdir(parents=True, exist_ok=True)


def write(folder: Path, decisive: dict[str, Any], digests: Digests) -> Path:
    """Write the record of a machine into `folder`, and return its path; raises DataError."""
    make_folder(folder)
    path = folder / file_name(decisive)
    text = json.dumps({"machine": decisive, "digests": digests}, indent=1)
    write_atomic(path, f"{text}\n".encode())
    return path
