"""The network's layers for TensorLayer: variables and names here, numerics in `ops`.

`wide_resnet` says what each layer does, and `variables.ATTRIBUTES` where it keeps its variables.
"""

from inspect import signature
from typing import Any

import tensorflow as tf
import tensorlayer as tl

from wrn3d.network import ops
from wrn3d.network.batch_norm import batch_norm_relu
from wrn3d.network.convolution import conv3d
from wrn3d.system.randomness import dropout_position, dropout_shares
from wrn3d.system.tensorflow_setup import check_process

ZEROS, ONES = tl.initializers.zeros(), tl.initializers.ones()


class Layer(tl.layers.Layer):
    """A layer without weights; those with weights override `build`.

    Setting `trainable` to False freezes it, as in Keras.
    """

    trainable = True

    def __init__(self, name: str) -> None:
        super().__init__(name)

    @property
    def trainable_weights(self) -> list[Any]:
        return super().trainable_weights if self.trainable else []

    def __repr__(self) -> str:
        """Return the constructor's call, such as "Dense(units=10, name='fc')"."""
        arguments = (f"{name}={getattr(self, name)!r}" for name in signature(type(self)).parameters)
        return f"{type(self).__name__}({', '.join(arguments)})"

    def build(self, inputs_shape: list[int]) -> None:
        pass

    def _get_init_args(self, skip: int = 3) -> dict[str, Any]:
        """Return {} instead of the constructor's arguments.

        TensorLayer would search the call stack for them, only to restore its own layers. Under
        `python -m`, where some frames have no source file, that takes a second.
        """
        return {}


class Input(Layer, tl.layers.inputs._InputLayer):
    """The input layer for volumes; `shape` is (None, D, H, W, C)."""

    def __init__(self, shape: list[int | None], name: str) -> None:
        tl.layers.inputs._InputLayer.__init__(self, shape, name=name)

    @property
    def outputs(self) -> tf.Tensor:
        """The placeholder to pass to the first layer."""
        return self._nodes[0].out_tensors[0]

    def forward(self, inputs: tf.Tensor) -> tf.Tensor:
        check_process()  # each call of the model begins here
        return inputs


class Cast(Layer):
    def __init__(self, to: str, name: str) -> None:
        super().__init__(name)
        self.to = to

    def forward(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.cast(inputs, self.to)


class Conv3d(Layer):
    def __init__(self, filters: int, kernel_size: int, stride: int, name: str) -> None:
        super().__init__(name)
        self.filters, self.kernel_size, self.stride = filters, kernel_size, stride

    def build(self, inputs_shape: list[int]) -> None:
        shape = (self.kernel_size,) * 3 + (inputs_shape[-1], self.filters)
        self.kernel = self._get_weights("kernel", shape, ZEROS)

    def forward(self, inputs: tf.Tensor) -> tf.Tensor:
        return conv3d(inputs, self.kernel, self.stride)


class BatchNormRelu(Layer):
    def build(self, inputs_shape: list[int]) -> None:
        shape = (inputs_shape[-1],)
        self.weight = self._get_weights("weight", shape, ONES)
        self.bias = self._get_weights("bias", shape, ZEROS)
        self.running_mean = self._get_weights("running_mean", shape, ZEROS, trainable=False)
        self.running_var = self._get_weights("running_var", shape, ONES, trainable=False)

    def forward(self, inputs: tf.Tensor) -> tf.Tensor:
        training = self.is_train and self.trainable  # a frozen layer keeps its running averages
        y, mean, var = batch_norm_relu(
            inputs, self.weight, self.bias, self.running_mean, self.running_var, training
        )
        if training:
            self.running_mean.assign(mean)
            self.running_var.assign(var)
        return y


class Dropout(Layer):
    def __init__(self, rate: float, seed: int, name: str) -> None:
        super().__init__(name)
        self.rate, self.seed = rate, seed

    def build(self, inputs_shape: list[int]) -> None:
        self.shares = tf.Variable(dropout_shares(self.rate), trainable=False, name="shares")
        self.position = tf.Variable(
            dropout_position(self.seed, self.name, 0), trainable=False, name="position"
        )
        self._nontrainable_weights += [self.shares, self.position]

    def forward(self, inputs: tf.Tensor) -> tf.Tensor:
        if not self.is_train:
            return inputs
        y = ops.dropout(inputs, self.shares, self.position)
        self.position.assign_add((0, 1))
        return y


class PadShortcut(Layer):
    def __init__(self, filters: int, stride: int, name: str) -> None:
        super().__init__(name)
        self.filters, self.stride = filters, stride

    def forward(self, inputs: tf.Tensor) -> tf.Tensor:
        return ops.pad_shortcut(inputs, self.filters, self.stride)


class Add(Layer):
    def forward(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        return tf.add(*inputs)


class GlobalAveragePool(Layer):
    def forward(self, inputs: tf.Tensor) -> tf.Tensor:
        return ops.global_average_pool(inputs)


class Dense(Layer):
    def __init__(self, units: int, name: str) -> None:
        super().__init__(name)
        self.units = units

    def build(self, inputs_shape: list[int]) -> None:
        self.weight = self._get_weights("weight", (inputs_shape[-1], self.units), ZEROS)
        self.bias = self._get_weights("bias", (self.units,), ZEROS)

    def forward(self, inputs: tf.Tensor) -> tf.Tensor:
        return ops.dense(inputs, self.weight, self.bias)
