"""Find the arguments that make Python run a script's file or a module."""

import importlib.util
from importlib.machinery import PathFinder
from pathlib import Path

from wrn3d.system.checks import require


def python_arguments(target: str) -> list[str]:
    """Return Python's arguments to run `target`, a script's path or a module's name.

    Raises UsageError if it is neither. Searches this process's `sys.path`, which begins with the
    working directory under `python -m`. Imports nothing.
    """
    if Path(target).is_file():
        return [target]
    require(
        _is_runnable_module(target),
        f"{target} is neither a file nor a module that Python can run: name a script, such as "
        "cifar_wide_resnet_tl",
    )
    return ["-m", target]


def _is_runnable_module(name: str) -> bool:
    package, *inner = name.split(".")
    if not all(part.isidentifier() for part in (package, *inner)):
        return False
    spec = importlib.util.find_spec(package)  # a dotted name would import the package
    for part in inner:
        spec = spec and PathFinder.find_spec(part, spec.submodule_search_locations or [])
    if spec and spec.submodule_search_locations is not None:  # `python -m` runs its __main__
        spec = PathFinder.find_spec("__main__", spec.submodule_search_locations)
    return spec is not None
