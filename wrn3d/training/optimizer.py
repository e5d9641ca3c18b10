"""The optimizers, for both front ends: the paper's gradient descent, Muon and Adam."""

from math import prod
from numbers import Real

import keras
import numpy as np
import tensorflow as tf

from wrn3d.network.parameters import KERNEL_DIMENSIONS
from wrn3d.training.gradients import sum_gradients

SGD_RATE = 4  # to Muon's learning rate
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # which Jordan found
ORTHOGONALIZING_STEPS = 3  # as in his CIFAR-10 runs; language models take 5
TINY = 1e-7


class Optimizer:
    """What they offer beside Keras's own: `gradient_norms`, a variable with the Euclidean norm of
    each gradient that was given last, nan before there were any, and `adjust`. Several workers send
    the gradients in this `order`, the same in both front ends, or rounding would differ."""

    order = None

    def build(self, variables):
        if not self.built:
            super().build(variables)
            # TensorFlow's own variable: Keras would save it.
            self.gradient_norms = tf.Variable(
                np.full(len(variables), np.nan, np.float32), trainable=False
            )

    def apply(self, grads, trainable_variables=None):
        grads = sum_gradients(list(grads), self.order)
        super().apply(grads, trainable_variables)
        if len(grads) == self.gradient_norms.shape[0] and not any(one is None for one in grads):
            self.note(grads)

    def note(self, gradients):
        """Take their norms, and nothing else."""
        # tf.norm would write the squares down.
        halves = tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients])
        self.gradient_norms.assign(tf.sqrt(2 * halves))

    def forget(self):
        """There were none."""
        self.gradient_norms.assign(np.full(self.gradient_norms.shape, np.nan, np.float32))

    def adjust(self, momentum, weight_decay):
        """Go on with another momentum and weight decay, where there are any."""


@keras.saving.register_keras_serializable(package="wrn3d")
class SGD(Optimizer, keras.optimizers.SGD):
    """SGD with PyTorch's momentum and weight decay (the authors' pytorch/main.py).

        gradient = gradient + weight_decay * weight       on every trained parameter
        velocity = momentum * velocity + gradient
        weight   = weight - learning_rate * (gradient + momentum * velocity   if nesterov
                                             velocity                         otherwise)

    Keras's own SGD scales what enters the velocity by the learning rate of that moment, and its
    weight decay bypasses the gradient. Here a learning rate acts on the iteration that it is
    given for, and zero moves nothing.
    """

    def __init__(
        self,
        learning_rate=0.01,
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        name="SGD",
        **kwargs,
    ):
        if isinstance(learning_rate, Real):  # not a schedule; Keras takes no whole number
            learning_rate = float(learning_rate)
        super().__init__(learning_rate, float(momentum), nesterov, name=name, **kwargs)
        self.coupled_weight_decay = weight_decay  # Keras would apply its `weight_decay` decoupled

    def build(self, variables):
        if not self.built:
            super().build(variables)
            start = [self.momentum, self.coupled_weight_decay]
            self.current = tf.Variable(np.array(start, np.float32), trainable=False)

    def adjust(self, momentum, weight_decay):
        self.current.assign(np.array([momentum, weight_decay], np.float32))

    def update_step(self, gradient, variable, learning_rate):
        momentum, weight_decay = tf.unstack(self.current)
        if self.coupled_weight_decay:
            gradient = gradient + weight_decay * variable
        if not self.momentum:
            variable.assign_sub(learning_rate * gradient)
            return
        self.move_along_momentum(gradient, variable, learning_rate, momentum)

    def move_along_momentum(self, gradient, variable, learning_rate, momentum):
        """The formula above without the weight decay, in one fused op."""
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=self.velocity(variable).handle,
            lr=learning_rate,
            grad=gradient,
            momentum=momentum,
            use_nesterov=self.nesterov,
        )

    def velocity(self, variable):
        """TensorFlow's own variable with the momentum of a trained one."""
        return self.momentums[self._get_variable_index(variable)].value

    @property
    def slots(self) -> dict:
        """{"momentum": a variable for each trained one}; empty without momentum."""
        return {"momentum": self.momentums} if self.momentum else {}

    def get_config(self):
        return super().get_config() | {"weight_decay": self.coupled_weight_decay}


@keras.saving.register_keras_serializable(package="wrn3d")
class Muon(SGD):
    """Orthogonalised momentum (Jordan et al. 2024, "Muon") for kernels, SGD for all else.

        velocity = momentum * velocity + gradient
        change   = gradient + momentum * velocity          if nesterov, else the velocity
        weight   = (1 - learning_rate * weight_decay) * weight
                   - learning_rate * scale * orthogonalized(change)

    A kernel (k, k, k, C, F) is the matrix (k k k C, F), and scale is sqrt(max(1, F / rows)), as in
    torch.optim.Muon. Batch norm's parameters and the dense layer follow SGD without weight decay,
    at SGD_RATE times the learning rate. With `single_depth`, for volumes of depth 1, only the
    kernels' centre slices are touched, which are all that those meet, as in a 2D network. With the
    `precision` bfloat16 the matrices' products are computed in it, as Jordan's are.
    """

    def __init__(
        self,
        learning_rate=0.05,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
        single_depth=False,
        precision="float32",
        name="Muon",
        **kwargs,
    ):
        super().__init__(learning_rate, momentum, nesterov, weight_decay, name=name, **kwargs)
        self.single_depth, self.precision = single_depth, precision

    def update_step(self, gradient, variable, learning_rate):
        momentum, weight_decay = tf.unstack(self.current)
        if len(variable.shape) < KERNEL_DIMENSIONS:
            self.move_along_momentum(gradient, variable, SGD_RATE * learning_rate, momentum)
            return
        velocity = self.velocity(variable)
        depths = [variable.shape[0] // 2] if self.single_depth else range(variable.shape[0])
        weight, before = (
            tf.raw_ops.ResourceGather(resource=array.handle, indices=depths, dtype=tf.float32)
            for array in (variable, velocity)
        )
        gradient = tf.gather(gradient, depths)
        after = momentum * before + gradient
        change = gradient + momentum * after if self.nesterov else after
        rows, filters = prod(weight.shape[:-1]), weight.shape[-1]
        scale = learning_rate * max(1.0, filters / rows) ** 0.5
        step = orthogonalized(tf.reshape(change, (rows, filters)), scale, self.precision)
        weight = (1 - learning_rate * weight_decay) * weight - tf.reshape(step, weight.shape)
        for array, value in (velocity, after), (variable, weight):
            # In a third of the time that a strided assignment takes.
            tf.raw_ops.ResourceScatterUpdate(resource=array.handle, indices=depths, updates=value)

    def get_config(self):
        return super().get_config() | {
            "single_depth": self.single_depth,
            "precision": self.precision,
        }


def orthogonalized(matrix, scale, precision="float32"):
    """(rows, columns) float32 with the same singular vectors and singular values near `scale`.

    By Jordan's iteration X <- X (a + b X'X + c (X'X)^2), of which only the small symmetric matrix
    X'X is carried on: it says by what X is to be multiplied in the end. In bfloat16 that is right
    within 2 to 6 % after three steps (on the momenta of `fast`), and not after five.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return tf.transpose(orthogonalized(tf.transpose(matrix), scale, precision))
    matrix = tf.cast(matrix, precision)
    gram = tf.cast(tf.matmul(matrix, matrix, transpose_a=True), tf.float32)
    norm = tf.sqrt(tf.linalg.trace(gram)) + TINY  # the matrix's Euclidean one
    gram = tf.cast(gram / (norm * norm), precision)
    factor = identity = tf.eye(matrix.shape[1], dtype=precision)
    a, b, c = NEWTON_SCHULZ
    for step in range(ORTHOGONALIZING_STEPS):
        # TensorFlow adds three terms in an order that depends on their names, which would differ
        # between the front ends: so never more than two.
        polynomial = a * identity + tf.matmul(gram, b * identity + c * gram)
        factor = tf.matmul(factor, polynomial) if step else polynomial
        gram = tf.matmul(polynomial, tf.matmul(gram, polynomial))
    factor = tf.cast(scale / norm * tf.cast(factor, tf.float32), precision)
    return tf.cast(tf.matmul(matrix, factor), tf.float32)


@keras.saving.register_keras_serializable(package="wrn3d")
class Adam(Optimizer, keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) with PyTorch's defaults."""

    def __init__(self, learning_rate=0.001, epsilon=1e-8, **kwargs):
        super().__init__(learning_rate, epsilon=epsilon, **kwargs)

    @property
    def slots(self) -> dict:
        """{"momentum" and "velocity": a variable for each trained one}."""
        return {"momentum": self._momentums, "velocity": self._velocities}


def make_optimizer(config, spec):
    """What a TrainingConfig says, for the network of a WideResNetSpec; the learning rate is set at
    each iteration."""
    if config.optimizer == "adam":
        return Adam(config.learning_rate)
    settings = config.learning_rate, config.momentum, config.nesterov, config.weight_decay
    if config.optimizer == "muon":
        return Muon(*settings, single_depth=spec.input_shape[0] == 1, precision=config.precision)
    return SGD(*settings)
