"""Import modules right after a library, or only when they are used; import libraries quickly.

Keras and Gymnasium find custom layers and environments only after the module that registers them
has been imported. That module needs the library, which can take seconds to import. So the module
is imported right after the library, whoever imports the library, and never before.
"""

import gc
import importlib
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


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


@contextmanager
def quick_imports(unused: Sequence[str], before: Callable[[], object]) -> Iterator[None]:
    """Import libraries without their modules `unused`, and without the garbage collector.

    Each of these modules is executed when a program first uses one of its attributes, after a call
    of `before`. The collector would look at all that the libraries make, again and again, and free
    nothing: that takes a fifth of TensorFlow's import.
    """
    finder, collecting = _DelayingFinder(unused, before), gc.isenabled()
    sys.meta_path.insert(0, finder)
    gc.disable()
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if not gc.get_freeze_count():  # else the caller has frozen objects of their own
            # Count the new objects as old at once, rather than after three collections.
            gc.freeze()
            gc.unfreeze()
        if collecting:
            gc.enable()


class _DelayingFinder(importlib.abc.MetaPathFinder):
    """Finds the modules `names` on their packages' paths, and delays their execution."""

    def __init__(self, names: Sequence[str], before: Callable[[], object]) -> None:
        self.names, self.before = names, before

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def delay(module: ModuleType) -> None:
                _execute_when_used(module, execute, self.before)

            spec.loader.exec_module = delay  # type: ignore[method-assign]
        return spec


def _execute_when_used(
    module: ModuleType, execute: Callable[[ModuleType], None], before: Callable[[], object]
) -> None:
    """Call `before`, then execute the module, when an attribute is missing (PEP 562).

    Python's LazyLoader would do so even for `inspect.stack` and AutoGraph, which ask all modules
    for their files. It also shows other threads a half-executed module, and after a failure an
    empty one.
    """
    lock, executing = threading.RLock(), False

    def use(name: str) -> Any:
        nonlocal executing
        with lock:
            if executing:  # by this thread: modules that import each other
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r} yet")
            if vars(module).get("__getattr__") is use:
                executing = True
                try:
                    before()
                    execute(module)
                finally:
                    executing = False
                for own, hook in hooks.items():
                    if vars(module)[own] is hook:  # the module has none of its own
                        delattr(module, own)
        return getattr(module, name)

    hooks = {"__getattr__": use, "__dir__": lambda: [*use("__dict__")]}
    vars(module).update(hooks)
