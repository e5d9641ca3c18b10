"""The shared loss in the forms that Keras's `compile` takes."""
import keras

from wrn3d import ops


@keras.saving.register_keras_serializable(package="wrn3d")
class CrossEntropy(keras.losses.Loss):
    """The batch's mean cross-entropy of integer labels and logits, each weighted if so asked."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Not Keras's own reduction, whose sum and division would be other ops than TensorLayer's.
        return ops.cross_entropy(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="wrn3d")
class BatchLoss(keras.metrics.Metric):
    """The last batch's own loss: Keras's `loss` is a running mean, whose weighting rounds."""

    def __init__(self, name="batch_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.value = self.add_weight(shape=(), initializer="zeros", name="value")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign(ops.cross_entropy(y_true, y_pred))

    def result(self):
        return self.value
