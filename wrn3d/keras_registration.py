"""What `import wrn3d` does for Keras: `keras.models.load_model` then knows this package's layers.

Keras finds layers that are not its own by what has been registered, which importing the module
that defines them does. That module needs Keras, which takes seconds to import; so it is imported
when Keras is, and not before.
"""
import importlib
import importlib.abc
import importlib.machinery
import sys

MODULES = ("wrn3d.layers_keras", "wrn3d.losses", "wrn3d.optimizer")


def register():
    """Register layers, losses and optimizer now."""
    for name in MODULES:
        importlib.import_module(name)


def register_with_keras():
    """Do it now if Keras has been imported, or else as soon as somebody imports it."""
    if "keras" in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _RegistersAfterwards())


class _RegistersAfterwards(importlib.abc.MetaPathFinder):
    """Finds `keras` on Python's path, and has `register` called after its import."""

    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == "keras" else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                sys.meta_path.remove(self)  # not before: some only ask whether there is a Keras
                register()

            spec.loader.exec_module = execute_and_register
        return spec
