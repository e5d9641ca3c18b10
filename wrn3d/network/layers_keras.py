"""The network's layers for Keras: variables and names here, numerics in `ops`.

`wide_resnet` says what each layer does, and `variables.ATTRIBUTES` where it keeps its variables.
Keras saves each layer with its constructor's arguments, and finds its class by the registered name.
"""

from typing import Any

import keras
import tensorflow as tf

from wrn3d.network import ops
from wrn3d.network.batch_norm import batch_norm_relu
from wrn3d.network.convolution import conv3d
from wrn3d.system.randomness import dropout_position, dropout_shares
from wrn3d.system.tensorflow_setup import check_process

serializable = keras.saving.register_keras_serializable(package="wrn3d")


class Layer(keras.layers.Layer):
    """A layer that computes in the precision of its input, with float32 weights."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        check_process()
        return super().__call__(*args, **kwargs)


@serializable
class Cast(Layer):
    def __init__(self, to: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.to = to

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.cast(x, self.to)


@serializable
class Conv3d(Layer):
    def __init__(self, filters: int, kernel_size: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.stride = filters, kernel_size, stride

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (self.kernel_size,) * 3 + (input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape, "zeros", name="kernel")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return conv3d(x, self.kernel, self.stride)


@serializable
class BatchNormRelu(Layer):
    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[-1],)
        self.weight = self.add_weight(shape, "ones", name="weight")
        self.bias = self.add_weight(shape, "zeros", name="bias")
        self.running_mean = self.add_weight(shape, "zeros", trainable=False, name="running_mean")
        self.running_var = self.add_weight(shape, "ones", trainable=False, name="running_var")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        training = training and self.trainable  # a frozen layer keeps its running averages
        y, mean, var = batch_norm_relu(
            x, self.weight, self.bias, self.running_mean, self.running_var, training
        )
        if training:
            self.running_mean.assign(mean)
            self.running_var.assign(var)
        return y


@serializable
class Dropout(Layer):
    def __init__(self, rate: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        # Not a weight: Keras would save it with the model, which already stores `rate`.
        self.shares = tf.Variable(dropout_shares(self.rate), trainable=False)
        start = keras.initializers.Constant(dropout_position(self.seed, self.name, 0))
        self.position = self.add_weight(
            (2,), start, dtype="int64", trainable=False, name="position"
        )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return x
        y = ops.dropout(x, self.shares, self.position)
        self.position.assign_add((0, 1))
        return y


@serializable
class PadShortcut(Layer):
    def __init__(self, filters: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.stride = filters, stride

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return ops.pad_shortcut(x, self.filters, self.stride)


@serializable
class Add(Layer, keras.layers.Add):
    """Keras's own sum, in the precision of its inputs."""


@serializable
class GlobalAveragePool(Layer):
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return ops.global_average_pool(x)


@serializable
class Dense(Layer):
    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.weight = self.add_weight((input_shape[-1], self.units), "zeros", name="weight")
        self.bias = self.add_weight((self.units,), "zeros", name="bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return ops.dense(x, self.weight, self.bias)
