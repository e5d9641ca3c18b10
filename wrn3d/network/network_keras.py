"""The network as a keras.Model of a class of its own."""

import functools
from collections.abc import Callable
from typing import Any

import keras

from wrn3d.network.layers_keras import Cast, serializable
from wrn3d.system.tensorflow_setup import check_process

COMPUTING = (
    *("__call__", "fit", "evaluate", "predict"),
    *("train_on_batch", "test_on_batch", "predict_on_batch"),
)


@serializable
class Network(keras.Model):
    """A keras.Model that computes in its own process only, and exports what others can read.

    In a fork of a process that runs TensorFlow, the methods in COMPUTING raise UsageError.
    """

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Export as any keras.Model does, but in float32 unless `format` is "tf_saved_model".

        The other formats' runtimes have no convolution in bfloat16.
        """
        check_process()
        model = self if format == "tf_saved_model" else self._in_float32()
        super(Network, model).export(filepath, format, **kwargs)

    def _in_float32(self) -> "Network":
        """Return a copy that computes in float32, and has been called, as exporting needs."""

        def copied(layer: Any) -> Any:
            config = layer.get_config()
            return type(layer).from_config(
                config | ({"to": "float32"} if type(layer) is Cast else {})
            )

        model = keras.models.clone_model(self, clone_function=copied)
        model.set_weights(self.get_weights())
        model(keras.ops.zeros((1, *self.input_shape[1:])), training=False)
        return model


def _in_own_process(name: str) -> Callable:
    """Return keras.Model's method `name`, which checks the process first."""

    @functools.wraps(getattr(keras.Model, name))
    def method(self: Network, *args: Any, **kwargs: Any) -> Any:
        check_process()
        return getattr(super(Network, self), name)(*args, **kwargs)

    return method


for _name in COMPUTING:
    setattr(Network, _name, _in_own_process(_name))
