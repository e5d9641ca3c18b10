"""One 3D Wide ResNet for two front ends, TensorLayer and Keras, that agree to the last bit.

    spec = wrn3d.WideResNetSpec(depth=28, widen_factor=4)
    model = wrn3d.tensorlayer_model(spec, seed=0)      # a tl.models.Model, volumes -> logits
    model = wrn3d.keras_model(spec, seed=0)            # a keras.Model,     volumes -> logits
    model = wrn3d.keras_model(weights="cifar10")       # trained weights

Volumes are (N, D, H, W, C); an image is a volume of depth 1. `__init__.pyi` lists the public names
and the modules that define them.
"""

import os

import lazy_loader

from wrn3d.system.import_hooks import import_after

__version__ = "0.2.0"

# TensorFlow and Keras read these variables once, when they are imported. The user's own values
# are kept, except for those that choose another Keras: this package runs only on Keras 3 with
# TensorFlow.
# oneDNN is off by default on some CPUs, where it triples the speed.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Hide TensorFlow's log: failures raise exceptions, and the log reports even a skipped graph
# optimisation as an error.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_USE_LEGACY_KERAS"] = "0"

# Import a public name's module when the name is first used, so that `import wrn3d` is instant.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# Keras can load a saved model only if the modules of its custom layers have been imported, and
# Gymnasium knows an environment only once it is registered.
import_after(
    *("keras", "wrn3d.network.layers_keras", "wrn3d.network.network_keras"),
    *("wrn3d.training.losses", "wrn3d.training.optimizer"),
)
import_after("gymnasium", "wrn3d.rl.registration")
