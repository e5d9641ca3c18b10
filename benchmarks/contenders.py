"""The programs that compete on the CPU: this project's front ends, stock Keras and PyTorch.

Each is made for a case and a precision. TensorFlow's matmul takes part as the machine's limit.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cases import Case
from wrn3d import TrainingEnvironment
from wrn3d.data.batches import batch_at
from wrn3d.network.wide_resnet import wide_resnet

MATMUL, MATRIX_SIDE = "matmul", 2048
Enough = Callable[[], bool]
TENSORLAYER_SCRIPT, KERAS_SCRIPT = "cifar_wide_resnet_tl", "cifar_wide_resnet_keras"


class Trainer(NamedTuple):
    """A model, and a function that trains it and calls `enough()` after each iteration until that
    returns True."""

    model: Any
    train: Callable[[Enough], None]


@dataclass(frozen=True)
class Contender:
    """A program: its name in tables, a function that makes its Trainer, and its libraries."""

    title: str
    make: Callable[[Case, str], Trainer]
    libraries: tuple[str, ...] = ("keras",)
    images_only: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether all its libraries are installed."""
        return all(map(find_spec, self.libraries))


def environment(script: str, case: Case, **settings: Any) -> TrainingEnvironment:
    """Return a script's CNNEnv on a case's network and data."""
    front_end = importlib.import_module(script).CNNEnv
    return front_end(spec=case.spec, data=case.dataset, batch_size=case.batch_size, **settings)


def script(name: str, case: Case, precision: str, fit: bool = False) -> Trainer:
    """Return a Trainer with a script's `env.step()`, or `model.fit` on the same batches."""
    env = environment(name, case, precision=precision)
    if not fit:
        return Trainer(env.model, partial(repeat, env.step))
    epoch = batch_at(env.dataset, 0, 0, 0, case.whole_batches)
    options = {"batch_size": case.batch_size, "shuffle": False}
    return Trainer(env.model, partial(fit_until, env.model, epoch, options))


def stock_keras(case: Case, precision: str) -> Trainer:
    """Return a Trainer of the network in stock Keras, as a newcomer would write it."""
    import keras
    from keras import layers

    policy = "mixed_bfloat16" if precision == "bfloat16" else precision
    keras.mixed_precision.set_global_policy(policy)

    def conv3d(filters, kernel_size, stride, name):
        return layers.Conv3D(filters, kernel_size, stride, padding="same", use_bias=False)

    stock: Any = SimpleNamespace(
        Conv3d=conv3d,
        BatchNormRelu=lambda name: lambda x: layers.ReLU()(layers.BatchNormalization()(x)),
        Add=layers.Add,
        GlobalAveragePool=layers.GlobalAveragePooling3D,
        Dense=lambda units, name: layers.Dense(units, dtype="float32"),
    )
    volumes = keras.Input(case.spec.input_shape)
    model = keras.Model(volumes, wide_resnet(stock, volumes, case.spec, seed=0))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss=loss, metrics=["accuracy"])
    dataset, rows = case.dataset, slice(case.whole_batches)
    epoch = dataset.normalise(dataset.train_volumes[rows]), dataset.train_labels[rows]
    return Trainer(model, partial(fit_until, model, epoch, {"batch_size": case.batch_size}))


def pytorch(dimensions: int, memory_format: str, case: Case, precision: str) -> Trainer:
    """Return a Trainer of the network in PyTorch, over 2 or 3 dimensions."""
    from benchmarks.pytorch import Training  # needs PyTorch, which may be missing

    training = Training(case, precision, dimensions, memory_format)
    return Trainer(training.model, partial(repeat, training.step))


def matmul(case: Case, precision: str) -> Trainer:
    """Return a Trainer that multiplies two matrices: 2 MATRIX_SIDE**3 operations an iteration."""
    import tensorflow as tf

    matrix = tf.random.stateless_normal([MATRIX_SIDE, MATRIX_SIDE], [0, 1])
    matrix = tf.cast(matrix, precision)
    product = tf.function(lambda: tf.matmul(matrix, matrix)[0, 0])
    return Trainer(None, partial(repeat, lambda: product().numpy()))


CONTENDERS = {
    MATMUL: Contender("TensorFlow's matmul", matmul),
    "tensorlayer": Contender(
        "wrn3d TensorLayer, env.step()",
        partial(script, TENSORLAYER_SCRIPT),
        ("keras", "tensorlayer"),
    ),
    "keras": Contender("wrn3d Keras, env.step()", partial(script, KERAS_SCRIPT)),
    "keras-fit": Contender("wrn3d Keras, model.fit", partial(script, KERAS_SCRIPT, fit=True)),
    "stock": Contender("stock Keras Conv3D, model.fit", stock_keras),
    "torch-3d": Contender("PyTorch Conv3d", partial(pytorch, 3, "contiguous_format"), ("torch",)),
    "torch-3d-last": Contender(
        "PyTorch Conv3d, channels_last_3d", partial(pytorch, 3, "channels_last_3d"), ("torch",)
    ),
    "torch-2d-last": Contender(
        "PyTorch Conv2d, channels_last",
        partial(pytorch, 2, "channels_last"),
        ("torch",),
        images_only=True,
    ),
}


def repeat(step: Callable[[], Any], enough: Enough) -> None:
    """Call `step()` and then `enough()`, over and over, until `enough()` returns True."""
    while True:
        step()
        if enough():
            return


def fit_until(
    model: Any, data: Sequence[np.ndarray], options: dict[str, Any], enough: Enough
) -> None:
    """Run `model.fit`, and call `enough()` after each batch until it returns True."""
    import keras

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = enough()

    model.fit(*data, epochs=10**6, verbose=0, callbacks=[Stop()], **options)
