"""The network on a batch that is cut into shards, with the variables of either front end's model.

`wide_resnet` is called with the layers below, which take and return a list of shards. Each shard
has ops of its own, from the first convolution to the logits. Only batch norm looks at all of them.
"""

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from wrn3d.distributed.shards import Sharding
from wrn3d.network import ops
from wrn3d.network.batch_norm import (
    batch_norm_relu,
    local_batch_norm_relu,
    nan_unless_finite,
    synchronised_batch_norm_relu,
)
from wrn3d.network.convolution import conv3d, slices_met
from wrn3d.network.spec import BATCH_NORM_MOMENTUM
from wrn3d.network.variables import Model, model_layers
from wrn3d.network.wide_resnet import wide_resnet


class Shards(list):
    """Tensors with the shards of a batch; the shapes differ in the number of rows alone."""

    @property
    def shape(self) -> tf.TensorShape:
        return self[0].shape


def logits_on_shards(
    model: Model, volumes: tf.Tensor, training: bool, sharding: Sharding
) -> tf.Tensor:
    """Return the model's logits (N, num_classes) of this worker's rows, (N, D, H, W, C).

    In training it updates the running averages and the dropout layers' positions, and the graph
    raises InvalidArgumentError for fewer rows than shards.
    """
    rows = tf.shape(volumes)[0]
    if training:
        check = tf.debugging.assert_greater_equal(
            rows, sharding.local, f"a batch needs a row for each of {sharding.count} shards"
        )
        # Nothing is computed before the check: it would leave NaN in the running averages.
        with tf.control_dependencies([] if check is None else [check]):
            volumes = tf.identity(volumes)
    else:  # TensorFlow's convolutions fail on a shard without rows
        missing = tf.maximum(sharding.local - rows, 0)
        volumes = tf.pad(volumes, [(0, missing), *[(0, 0)] * 4])
    shards = Shards(sharding.split(volumes))
    layers = LayersOnShards(model, training, sharding)
    logits = wide_resnet(layers, shards, model.spec, seed=0, precision=model.precision)
    return layers.finish(logits) if training else tf.concat(logits, 0)[:rows]


class LayersOnShards:
    """The layers of `wide_resnet`, for lists of shards."""

    def __init__(self, model: Model, training: bool, sharding: Sharding) -> None:
        self.training, self.sharding = training, sharding
        self._own = {layer.name: layer for layer in model_layers(model)}
        self._batch_norms: list[Any] = []  # those in training mode
        self._moments: list[tf.Tensor] = []  # of their inputs: the batch's, or each shard's

    def Cast(self, to: str, name: str) -> Callable:
        return _on_each(lambda x: tf.cast(x, to))

    def Conv3d(self, filters: int, kernel_size: int, stride: int, name: str) -> Callable:
        kernel = self._own[name].kernel

        def call(shards: Shards) -> Shards:
            # Before the copies: each shard's gradient then has no slices of zeros.
            kernels = self.sharding.copies(slices_met(kernel, shards.shape))
            pairs = enumerate(zip(shards, kernels, strict=True))
            return Shards(
                conv3d(*self.sharding.kernel_gradient_soon(*pair, place), stride)
                for place, pair in pairs
            )

        return call

    def BatchNormRelu(self, name: str) -> Callable:
        layer = self._own[name]
        if not (self.training and layer.trainable):  # a frozen layer keeps its running averages
            averages = layer.running_mean, layer.running_var
            return _on_each(
                lambda x: batch_norm_relu(x, layer.weight, layer.bias, *averages, False)[0]
            )
        synchronised = self.sharding.synchronised
        normalise = synchronised_batch_norm_relu if synchronised else local_batch_norm_relu

        def call(shards: Shards) -> Shards:
            activated, moments = normalise(shards, layer.weight, layer.bias, self.sharding)
            self._batch_norms.append(layer)
            self._moments.append(moments)
            return Shards(activated)

        return call

    def Dropout(self, rate: float, seed: int, name: str) -> Callable:
        layer = self._own[name]

        def call(shards: Shards) -> Shards:
            if not self.training:
                return shards
            rows = self.sharding.first_rows(shards)
            dropped = Shards(
                ops.dropout(x, layer.shares, layer.position, row)
                for x, row in zip(shards, rows, strict=True)
            )
            layer.position.assign_add((0, 1))
            return dropped

        return call

    def PadShortcut(self, filters: int, stride: int, name: str) -> Callable:
        return _on_each(lambda x: ops.pad_shortcut(x, filters, stride))

    def Add(self, name: str) -> Callable:
        return lambda pair: Shards(tf.add(*both) for both in zip(*pair, strict=True))

    def GlobalAveragePool(self, name: str) -> Callable:
        return _on_each(ops.global_average_pool)

    def Dense(self, units: int, name: str) -> Callable:
        layer = self._own[name]

        def call(shards: Shards) -> Shards:
            weights, biases = (
                self.sharding.copies(tf.convert_to_tensor(variable))
                for variable in (layer.weight, layer.bias)
            )
            return Shards(map(ops.dense, shards, weights, biases))

        return call

    def finish(self, shards: Shards) -> tf.Tensor:
        """Assign the new running averages; return the logits, (N, num_classes).

        The logits are NaN if a mean, variance, weight or bias of batch norm is not finite.
        """
        logits = tf.concat(shards, 0)
        if not self._batch_norms:  # all are frozen
            return logits
        moments = self._moments
        affine = [one for layer in self._batch_norms for one in (layer.weight, layer.bias)]
        # This worker's own moments: no layer waits for the sum below.
        nan_or_0 = nan_unless_finite([*moments, *affine])
        if not self.sharding.synchronised:  # one sum for all layers
            shares = tf.reshape(tf.cast(self.sharding.shares(shards), tf.float32), [-1, 1, 1])
            widths = [layer.running_mean.shape[0] for layer in self._batch_norms]
            moments = tf.split(self.sharding.sum(shares * tf.concat(moments, 2)), widths, axis=1)
        for layer, (mean, var) in zip(self._batch_norms, map(tf.unstack, moments), strict=True):
            for average, value in ((layer.running_mean, mean), (layer.running_var, var)):
                average.assign(average + BATCH_NORM_MOMENTUM * (value - average))
        return logits + nan_or_0


def _on_each(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[Iterable], Shards]:
    return lambda shards: Shards(map(function, shards))
