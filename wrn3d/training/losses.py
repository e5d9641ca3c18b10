"""The shared loss as Keras's `compile` takes it: a loss and a metric."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from wrn3d.network import ops
from wrn3d.network.ops import OwnLoss
from wrn3d.system.keras_settings import in_float32

serializable = keras.saving.register_keras_serializable(package="wrn3d")


def _settings(
    smoothing: float, class_weights: Sequence[float] | None, own: OwnLoss | None
) -> dict[str, Any]:
    """Return the keywords of `ops.cross_entropy`, without a missing `own`: old files have none."""
    if isinstance(own, dict):  # in a file, Keras writes a registered function so
        own = keras.saving.deserialize_keras_object(own)
    settings: dict[str, Any] = {"smoothing": smoothing, "class_weights": class_weights}
    return settings | ({"own": own} if own else {})


@serializable
class CrossEntropy(keras.losses.Loss):
    """Mean loss of the batch's integer labels and logits, by `ops.cross_entropy`."""

    def __init__(
        self,
        smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        own: OwnLoss | None = None,
        name: str = "cross_entropy",
        **kwargs: Any,
    ) -> None:
        with in_float32():
            super().__init__(name=name, **kwargs)
        self.settings = _settings(smoothing, class_weights, own)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        # Keras's own reduction would use other ops than the TensorLayer script.
        return ops.cross_entropy(y_true, y_pred, sample_weight, **self.settings)

    def get_config(self) -> Any:
        return super().get_config() | self.settings


@serializable
class BatchLoss(keras.metrics.Metric):
    """The last batch's loss. Keras's `loss` is a running mean with rounding errors of its own."""

    def __init__(
        self,
        smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        own: OwnLoss | None = None,
        name: str = "batch_loss",
        **kwargs: Any,
    ) -> None:
        with in_float32():
            super().__init__(name=name, **kwargs)
            self.value = self.add_weight(shape=(), initializer="zeros", name="value")
        self.settings = _settings(smoothing, class_weights, own)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.value.assign(ops.cross_entropy(y_true, y_pred, **self.settings))

    def result(self) -> Any:
        # Not the variable, which validation changes before `fit` notes the value.
        return tf.identity(self.value)

    def reset_state(self) -> None:
        """Do nothing: the next batch replaces the value. Keras would assign a zero each step."""

    def get_config(self) -> Any:
        return super().get_config() | self.settings
