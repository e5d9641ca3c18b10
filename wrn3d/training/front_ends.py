"""The two training scripts by name; only this module of the package imports them."""

import importlib
from typing import Any

from wrn3d.system.checks import check_choice

SCRIPTS = {"TensorLayer": "cifar_wide_resnet_tl", "Keras": "cifar_wide_resnet_keras"}  # modules


def environment_class(front_end: str) -> Any:
    """Return the CNNEnv of the front end "tensorlayer" or "keras", in any case.

    Raises UsageError for another name.
    """
    modules = {title.lower(): module for title, module in SCRIPTS.items()}
    check_choice("front_end", front_end, (*modules, *SCRIPTS))
    return importlib.import_module(modules[front_end.lower()]).CNNEnv
