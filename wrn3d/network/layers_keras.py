"""The network's layers for Keras: weights and serialization here, numerics in `ops`.

Each layer's `parameters` maps the end of a canonical name ("" where the layer's name is all of
it) to the variable.
"""

import keras
import tensorflow as tf

from wrn3d.network import ops
from wrn3d.network.convolution import conv3d
from wrn3d.system.randomness import dropout_position, dropout_shares

serializable = keras.saving.register_keras_serializable(package="wrn3d")


class Layer(keras.layers.Layer):
    """A layer that computes in the precision of its input, with float32 weights."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)


@serializable
class Add(Layer, keras.layers.Add):
    """The sum of the block and its shortcut."""


@serializable
class Cast(Layer):
    """The same volumes in another precision, which the layers that follow take over."""

    def __init__(self, to, **kwargs):
        super().__init__(**kwargs)
        self.to = to

    def call(self, x):
        return tf.cast(x, self.to)

    def get_config(self):
        return super().get_config() | {"to": self.to}


@serializable
class Conv3d(Layer):
    """Convolution without bias, padded symmetrically."""

    def __init__(self, filters, kernel_size, stride, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.stride = filters, kernel_size, stride

    def build(self, input_shape):
        shape = (self.kernel_size,) * 3 + (input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="zeros", name="kernel")

    def call(self, x):
        return conv3d(x, self.kernel, self.stride)

    @property
    def parameters(self):
        return {"": self.kernel}

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
        }


@serializable
class BatchNormRelu(Layer):
    """Batch norm over (N, D, H, W), then ReLU."""

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.weight = self.add_weight(shape=shape, initializer="ones", name="weight")
        self.bias = self.add_weight(shape=shape, initializer="zeros", name="bias")
        self.running_mean = self.add_weight(
            shape=shape, initializer="zeros", trainable=False, name="running_mean"
        )
        self.running_var = self.add_weight(
            shape=shape, initializer="ones", trainable=False, name="running_var"
        )

    def call(self, x, training=False):
        y, mean, var = ops.batch_norm_relu(
            x,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            training and self.trainable,
        )
        if training and self.trainable:
            self.running_mean.assign(mean)
            self.running_var.assign(var)
        return y

    @property
    def parameters(self):
        return {
            ".weight": self.weight,
            ".bias": self.bias,
            ".running_mean": self.running_mean,
            ".running_var": self.running_var,
        }


@serializable
class Dropout(Layer):
    """Dropout whose mask is a function of (seed, the layer's name, iteration)."""

    def __init__(self, rate, seed, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed

    def build(self, input_shape):
        # TensorFlow's own variable: Keras would save it, and `rate` says the same.
        self.shares = tf.Variable(dropout_shares(self.rate), trainable=False)
        self.position = self.add_weight(
            shape=(2,),
            dtype="int64",
            trainable=False,
            name="position",
            initializer=_starting_at(dropout_position(self.seed, self.name, 0)),
        )

    def call(self, x, training=False):
        if not training:
            return x
        y = ops.dropout(x, self.shares, self.position)
        self.position.assign_add((0, 1))
        return y

    def get_config(self):
        return super().get_config() | {"rate": self.rate, "seed": self.seed}


@serializable
class PadShortcut(Layer):
    """Average pooling by the stride, then zero channels."""

    def __init__(self, filters, stride, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.stride = filters, stride

    def call(self, x):
        return ops.pad_shortcut(x, self.filters, self.stride)

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "stride": self.stride}


@serializable
class GlobalAveragePool(Layer):
    """(N, D, H, W, C) -> (N, C)."""

    def call(self, x):
        return ops.global_average_pool(x)


@serializable
class Dense(Layer):
    """Logits: (N, C) -> (N, units)."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.weight = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="zeros", name="weight"
        )
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, x):
        return ops.dense(x, self.weight, self.bias)

    @property
    def parameters(self):
        return {".weight": self.weight, ".bias": self.bias}

    def get_config(self):
        return super().get_config() | {"units": self.units}


def _starting_at(array):
    """What Keras calls an initializer."""
    return lambda shape, dtype: tf.constant(array, dtype)
