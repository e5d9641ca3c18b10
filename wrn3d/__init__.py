"""One 3D Wide ResNet for two front ends, TensorLayer and Keras, that agree to the last bit.

    spec = wrn3d.WideResNetSpec(depth=28, widen_factor=4)
    model = wrn3d.tensorlayer_model(spec, seed=0)      # a tl.models.Model, volumes -> logits
    model = wrn3d.keras_model(spec, seed=0)            # a keras.Model,     volumes -> logits

Volumes are (N, D, H, W, C); an image is a volume of depth 1.
"""
import importlib
import os

from wrn3d.keras_registration import register_with_keras

# TensorFlow and Keras read these once, when they are imported, which nothing here does before it
# has to. TensorFlow leaves oneDNN off on some CPUs, where it is worth 3x. What the user set stays,
# but for Keras's backend: nothing here runs on another.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# What goes wrong comes as an exception; beside it TensorFlow logs as an error that an optimisation
# of a graph was left out.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

_HOMES = {
    "WideResNetSpec": "spec",
    "TrainingConfig": "config",
    "Dataset": "data",
    "load_dataset": "data",
    "TrainingEnvironment": "environment",
    "StepResult": "environment",
    "EvalResult": "evaluation",
    "Checkpoint": "checkpoint",
    "initial_weights": "parameters",
    "keras_model": "models",
    "tensorlayer_model": "models",
    "Adam": "optimizer",
    "Muon": "optimizer",
    "SGD": "optimizer",
    "make_optimizer": "optimizer",
}
__all__ = sorted(_HOMES)

register_with_keras()


def __getattr__(name):
    """Import a public name's module when the name is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'wrn3d' has no attribute '{name}'")
    return getattr(importlib.import_module(f"wrn3d.{_HOMES[name]}"), name)


def __dir__():
    return __all__
