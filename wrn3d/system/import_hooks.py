"""Import modules of this package as soon as somebody imports the library that they extend.

Keras and Gymnasium find custom layers and environments only after the module that registers them
has been imported. That module needs the library, which can take seconds to import. So it is
imported right after the library, whoever imports that, and never before.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys


def import_after(library, *modules):
    """Import `modules` now if `library` has been imported, or else right after its import."""
    if library in sys.modules:
        _import_all(modules)
    else:
        sys.meta_path.insert(0, _ImportsAfterwards(library, modules))


def _import_all(modules):
    for name in modules:
        importlib.import_module(name)


class _ImportsAfterwards(importlib.abc.MetaPathFinder):
    """Finds `library` on Python's path and imports `modules` after it."""

    def __init__(self, library, modules):
        self.library, self.modules = library, modules

    def find_spec(self, name, path=None, target=None):
        if name != self.library:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_import(module):
                execute(module)
                # Not earlier: some programs only ask whether the library is installed.
                sys.meta_path.remove(self)
                _import_all(self.modules)

            spec.loader.exec_module = execute_and_import
        return spec
