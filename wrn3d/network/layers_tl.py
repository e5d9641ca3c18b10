"""The network's layers for TensorLayer: weights and names here, numerics in `ops`.

Each layer's `parameters` maps the end of a canonical name ("" where the layer's name is all of
it) to the variable.
"""

import tensorflow as tf
import tensorlayer as tl

from wrn3d.network import ops
from wrn3d.network.convolution import conv3d
from wrn3d.system.randomness import dropout_position, dropout_shares

ZEROS, ONES = tl.initializers.zeros(), tl.initializers.ones()


class Layer(tl.layers.Layer):
    """TensorLayer's, without a record of its constructor's arguments.

    From that record TensorLayer can restore layers of its own alone. It takes a second to make,
    where the call stack it looks through has frames without a source file, as under `python -m`.
    """

    def _get_init_args(self, skip=3):
        return {}


class Input(Layer, tl.layers.inputs._InputLayer):
    """Where volumes come in."""

    @property
    def outputs(self):
        """What the first layer is called with."""
        return self._nodes[0].out_tensors[0]


class Cast(Layer):
    """The same volumes in another precision, which the layers that follow take over."""

    def __init__(self, to, name=None):
        super().__init__(name)
        self.to = to

    def __repr__(self):
        return f"Cast(to='{self.to}', name='{self.name}')"

    def build(self, inputs_shape):
        pass

    def forward(self, inputs):
        return tf.cast(inputs, self.to)


class Conv3d(Layer):
    """Convolution without bias, padded symmetrically."""

    def __init__(self, filters, kernel_size, stride, name=None):
        super().__init__(name)
        self.filters, self.kernel_size, self.stride = filters, kernel_size, stride

    def __repr__(self):
        return (
            f"Conv3d(filters={self.filters}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, name='{self.name}')"
        )

    def build(self, inputs_shape):
        shape = (self.kernel_size,) * 3 + (inputs_shape[-1], self.filters)
        self.kernel = self._get_weights("kernel", shape=shape, init=ZEROS)

    def forward(self, inputs):
        return conv3d(inputs, self.kernel, self.stride)

    @property
    def parameters(self):
        return {"": self.kernel}


class BatchNormRelu(Layer):
    """Batch norm over (N, D, H, W), then ReLU."""

    def __init__(self, name=None):
        super().__init__(name)

    def __repr__(self):
        return f"BatchNormRelu(name='{self.name}')"

    def build(self, inputs_shape):
        shape = (inputs_shape[-1],)
        self.weight = self._get_weights("weight", shape=shape, init=ONES)
        self.bias = self._get_weights("bias", shape=shape, init=ZEROS)
        self.running_mean = self._get_weights(
            "running_mean", shape=shape, init=ZEROS, trainable=False
        )
        self.running_var = self._get_weights("running_var", shape=shape, init=ONES, trainable=False)

    def forward(self, inputs):
        y, mean, var = ops.batch_norm_relu(
            inputs, self.weight, self.bias, self.running_mean, self.running_var, self.is_train
        )
        if self.is_train:
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


class Dropout(Layer):
    """Dropout whose mask is a function of (seed, the layer's name, iteration)."""

    def __init__(self, rate, seed, name=None):
        super().__init__(name)
        self.rate, self.seed = rate, seed

    def __repr__(self):
        return f"Dropout(rate={self.rate}, name='{self.name}')"

    def build(self, inputs_shape):
        self.shares = tf.Variable(dropout_shares(self.rate), trainable=False, name="shares")
        self.position = tf.Variable(
            dropout_position(self.seed, self.name, 0), trainable=False, name="position"
        )
        self._nontrainable_weights += [self.shares, self.position]

    def forward(self, inputs):
        if not self.is_train:
            return inputs
        y = ops.dropout(inputs, self.shares, self.position)
        self.position.assign_add((0, 1))
        return y


class PadShortcut(Layer):
    """Average pooling by the stride, then zero channels."""

    def __init__(self, filters, stride, name=None):
        super().__init__(name)
        self.filters, self.stride = filters, stride

    def __repr__(self):
        return f"PadShortcut(filters={self.filters}, stride={self.stride}, name='{self.name}')"

    def build(self, inputs_shape):
        pass

    def forward(self, inputs):
        return ops.pad_shortcut(inputs, self.filters, self.stride)


class Add(Layer, tl.layers.Elementwise):
    """The sum of the block and its shortcut."""

    def __init__(self, name=None):
        super().__init__(combine_fn=tf.add, name=name)


class GlobalAveragePool(Layer):
    """(N, D, H, W, C) -> (N, C)."""

    def __init__(self, name=None):
        super().__init__(name)

    def __repr__(self):
        return f"GlobalAveragePool(name='{self.name}')"

    def build(self, inputs_shape):
        pass

    def forward(self, inputs):
        return ops.global_average_pool(inputs)


class Dense(Layer):
    """Logits: (N, C) -> (N, units)."""

    def __init__(self, units, name=None):
        super().__init__(name)
        self.units = units

    def __repr__(self):
        return f"Dense(units={self.units}, name='{self.name}')"

    def build(self, inputs_shape):
        self.weight = self._get_weights("weight", shape=(inputs_shape[-1], self.units), init=ZEROS)
        self.bias = self._get_weights("bias", shape=(self.units,), init=ZEROS)

    def forward(self, inputs):
        return ops.dense(inputs, self.weight, self.bias)

    @property
    def parameters(self):
        return {".weight": self.weight, ".bias": self.bias}
