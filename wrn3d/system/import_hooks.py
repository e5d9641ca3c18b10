"""Import modules of this package as soon as the library that they extend is imported.

Keras and Gymnasium find custom layers and environments only after the module that registers them
has been imported. That module needs the library, which can take seconds to import. So the module
is imported right after the library, whoever imports the library, and never before.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType


def import_after(library: str, *modules: str) -> None:
    """Import `modules` now if `library` has been imported, else right after its import."""
    if sys.modules.get(library):  # None if an import of it is forbidden
        _import_all(modules)
    else:
        sys.meta_path.insert(0, _ImportHook(library, modules))


def _import_all(modules: Sequence[str]) -> None:
    for name in modules:
        importlib.import_module(name)


class _ImportHook(importlib.abc.MetaPathFinder):
    """Finds `library` on Python's path and imports `modules` right after it."""

    def __init__(self, library: str, modules: Sequence[str]) -> None:
        self.library, self.modules = library, modules

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.library:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_import(module: ModuleType) -> None:
                execute(module)
                # Not in find_spec: some programs only ask whether the library is installed.
                sys.meta_path.remove(self)
                _import_all(self.modules)

            spec.loader.exec_module = execute_and_import  # type: ignore[method-assign]
        return spec
