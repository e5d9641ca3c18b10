"""The optimizers, shared by both front ends: SGD as in the paper, Muon and Adam."""

from collections.abc import Sequence
from math import prod
from numbers import Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from wrn3d.network.parameters import KERNEL_DIMENSIONS
from wrn3d.network.spec import WideResNetSpec, check_spec
from wrn3d.system.checks import require
from wrn3d.system.errors import quoted
from wrn3d.system.keras_settings import in_float32
from wrn3d.system.tensorflow_setup import check_process
from wrn3d.training.config import TrainingConfig
from wrn3d.training.gradients import sum_gradients

SGD_RATE = 4  # times Muon's learning rate, for all parameters but kernels
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients
ORTHOGONALIZING_STEPS = 3  # as in Jordan's CIFAR-10 runs; language models take 5
TINY = 1e-7


class Optimizer:
    """A mixin that adds gradient norms and sums over workers to Keras's optimizers.

    `gradient_norms` is a variable with the Euclidean norm of each of the last gradients, -1 before
    the first: tf.debugging.enable_check_numerics would report NaN. Several workers sum their
    gradients before the update. They send them in the network's order, `order`, so that both front
    ends round alike.
    """

    order: Sequence[int] | None = None
    gradient_norms: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with in_float32():
            super().__init__(*args, **kwargs)

    def build(self: Any, variables: Any) -> None:
        if not self.built:
            super().build(variables)  # type: ignore[misc]
            # A plain TensorFlow variable: Keras would save its own.
            self.gradient_norms = tf.Variable(
                np.full(len(variables), -1, np.float32), trainable=False
            )

    def apply(self: Any, grads: Any, trainable_variables: Any = None) -> None:
        check_process()
        grads = sum_gradients(list(grads), self.order)
        with in_float32():
            super().apply(grads, trainable_variables)  # type: ignore[misc]
        if len(grads) == self.gradient_norms.shape[0] and not any(one is None for one in grads):
            self.note(grads)

    def note(self, gradients: Sequence[Any]) -> None:
        """Set `gradient_norms` to the norms of these gradients."""
        # tf.norm would store the squares.
        halves = tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients])
        self.gradient_norms.assign(tf.sqrt(2 * halves))

    def forget(self) -> None:
        """Set `gradient_norms` to what it is before the first gradients."""
        self.gradient_norms.assign(np.full(self.gradient_norms.shape, -1, np.float32))

    def adjust(self: Any, iteration: int, momentum: float, weight_decay: float) -> None:
        """Continue at `iteration` with another momentum and weight decay, if there are any."""
        _set(self.iterations, np.asarray(iteration, np.int64))


def _set(variable: Any, array: np.ndarray) -> None:
    """Assign an array to a variable, unless it has this value: to look takes less time."""
    if not np.array_equal(variable.numpy(), array):
        variable.assign(array)


@keras.saving.register_keras_serializable(package="wrn3d")
class SGD(Optimizer, keras.optimizers.SGD):
    """SGD with PyTorch's momentum and weight decay (the authors' pytorch/main.py).

        gradient = gradient + weight_decay * weight       on every trained parameter
        velocity = momentum * velocity + gradient
        weight   = weight - learning_rate * (gradient + momentum * velocity   if nesterov
                                             velocity                         otherwise)

    Keras's SGD multiplies the gradient by the learning rate before it enters the velocity, and its
    weight decay bypasses the gradient. Here a learning rate affects only its own iteration, and
    0 leaves the weights unchanged.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        name: str = "SGD",
        **kwargs: Any,
    ) -> None:
        if isinstance(learning_rate, Real):  # not a schedule; Keras refuses an int
            learning_rate = float(learning_rate)
        super().__init__(learning_rate, float(momentum), nesterov, name=name, **kwargs)
        self.coupled_weight_decay = weight_decay  # Keras's own `weight_decay` is decoupled

    def build(self, variables: Any) -> None:
        if not self.built:
            super().build(variables)
            start = [self.momentum, self.coupled_weight_decay]
            self.current = tf.Variable(np.array(start, np.float32), trainable=False)

    def adjust(self, iteration: int, momentum: float, weight_decay: float) -> None:
        super().adjust(iteration, momentum, weight_decay)
        _set(self.current, np.array([momentum, weight_decay], np.float32))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        momentum, weight_decay = tf.unstack(self.current)
        if self.coupled_weight_decay:
            gradient = gradient + weight_decay * variable
        if not self.momentum:
            variable.assign_sub(learning_rate * gradient)
            return
        self.move_along_momentum(gradient, variable, learning_rate, momentum)

    def move_along_momentum(
        self, gradient: Any, variable: Any, learning_rate: Any, momentum: Any
    ) -> None:
        """Apply the formula above without the weight decay, in one fused op."""
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=self.velocity(variable).handle,
            lr=learning_rate,
            grad=gradient,
            momentum=momentum,
            use_nesterov=self.nesterov,
        )

    def velocity(self, variable: Any) -> Any:
        """Return the TensorFlow variable that holds the momentum of a trained variable."""
        return self.momentums[self._get_variable_index(variable)].value

    @property
    def slots(self) -> dict[str, Any]:
        """{"momentum": one variable for each trained one}; empty without momentum."""
        return {"momentum": self.momentums} if self.momentum else {}

    def get_config(self) -> Any:
        return super().get_config() | {"weight_decay": self.coupled_weight_decay}


@keras.saving.register_keras_serializable(package="wrn3d")
class Muon(SGD):
    """Orthogonalised momentum for kernels, SGD for all else (Jordan et al. 2024, "Muon").

        velocity = momentum * velocity + gradient
        change   = gradient + momentum * velocity          if nesterov, else the velocity
        weight   = (1 - learning_rate * weight_decay) * weight
                   - learning_rate * scale * orthogonalized(change)

    A kernel (k, k, k, C, F) is a matrix (k k k C, F). The scale is sqrt(max(1, F / rows)), as in
    torch.optim.Muon. Batch norm's parameters and the dense layer follow SGD without weight decay,
    at SGD_RATE times the learning rate.

    `single_depth`, for volumes of depth 1, updates only the kernels' centre slices, the only ones
    that such volumes meet. `precision` is that of the matrix products; Jordan uses bfloat16.
    """

    def __init__(
        self,
        learning_rate: Any = 0.05,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 0.01,
        single_depth: bool = False,
        precision: str = "float32",
        name: str = "Muon",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, nesterov, weight_decay, name=name, **kwargs)
        self.single_depth, self.precision = single_depth, precision

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
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
            # Three times as fast as a strided assignment.
            tf.raw_ops.ResourceScatterUpdate(resource=array.handle, indices=depths, updates=value)

    def get_config(self) -> Any:
        return super().get_config() | {
            "single_depth": self.single_depth,
            "precision": self.precision,
        }


def orthogonalized(matrix: Any, scale: Any, precision: str = "float32") -> Any:
    """Return `matrix` (rows, columns) float32 with singular values near `scale`.

    The singular vectors do not change. Jordan's iteration is X <- X (a + b X'X + c (X'X)^2). Here
    it runs on the small symmetric matrix X'X alone, and X is multiplied once, at the end. In
    bfloat16 the result is right within 2 to 6 % after three steps (on the momenta of `fast`), but
    not after five.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return tf.transpose(orthogonalized(tf.transpose(matrix), scale, precision))
    matrix = tf.cast(matrix, precision)
    gram = tf.cast(tf.matmul(matrix, matrix, transpose_a=True), tf.float32)
    norm = tf.sqrt(tf.linalg.trace(gram)) + TINY  # the matrix's Frobenius norm
    gram = tf.cast(gram / (norm * norm), precision)
    factor = identity = tf.eye(matrix.shape[1], dtype=precision)
    a, b, c = NEWTON_SCHULZ
    for step in range(ORTHOGONALIZING_STEPS):
        # Never add three terms in one expression: TensorFlow orders them by their names, which
        # differ between the front ends.
        polynomial = a * identity + tf.matmul(gram, b * identity + c * gram)
        factor = tf.matmul(factor, polynomial) if step else polynomial
        gram = tf.matmul(polynomial, tf.matmul(gram, polynomial))
    factor = tf.cast(scale / norm * tf.cast(factor, tf.float32), precision)
    return tf.cast(tf.matmul(matrix, factor), tf.float32)


@keras.saving.register_keras_serializable(package="wrn3d")
class Adam(Optimizer, keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) with PyTorch's defaults."""

    def __init__(self, learning_rate: Any = 0.001, epsilon: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(learning_rate, epsilon=epsilon, **kwargs)

    @property
    def slots(self) -> dict[str, Any]:
        """{"momentum" and "velocity": one variable for each trained one}."""
        return {"momentum": self._momentums, "velocity": self._velocities}


def make_optimizer(config: TrainingConfig, spec: WideResNetSpec) -> Optimizer:
    """Return the optimizer that the settings name, for the network of `spec`.

    The caller sets its learning rate before each iteration. Raises UsageError for other types.
    """
    check_spec(spec)
    require(
        isinstance(config, TrainingConfig),
        f"config is {quoted(config)}, but must be a wrn3d.TrainingConfig",
    )
    if config.optimizer == "adam":
        return Adam(config.learning_rate)
    settings = config.learning_rate, config.momentum, config.nesterov, config.weight_decay
    if config.optimizer == "muon":
        return Muon(*settings, single_depth=spec.input_shape[0] == 1, precision=config.precision)
    return SGD(*settings)
