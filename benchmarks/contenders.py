"""The programs that compete on the CPU: this project's front ends, stock Keras and PyTorch.

Each is made for a case and a precision. TensorFlow's matmul takes part as the machine's limit.
"""

import importlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.cases import MOMENTUM, Case
from wrn3d.network.wide_resnet import PRECISIONS, wide_resnet
from wrn3d.system import machine

if TYPE_CHECKING:  # a program in PyTorch must not spend its start on importing this project
    from wrn3d import TrainingEnvironment

MATMUL, STOCK, MATRIX_SIDE = "matmul", "stock", 2048
Enough = Callable[[], bool]
TENSORLAYER_SCRIPT, KERAS_SCRIPT = "cifar_wide_resnet_tl", "cifar_wide_resnet_keras"


class Program(NamedTuple):
    """A model, and a function that runs it and calls `enough()` after each iteration until that
    returns True."""

    model: Any
    run: Callable[[Enough], None]


Maker = Callable[[Case, str], Program]


@dataclass(frozen=True)
class Contender:
    """A program: its name in tables, its libraries, and a function for each work that makes it.

    One over 2 `dimensions` takes no volumes; one over 3 takes images only if it is named. An
    `optional` one takes part only if it is named. One with several `shards` computes each op on
    one thread. A `contiguous` one does not have the channels last.
    """

    title: str
    makers: Mapping[str, Maker]
    libraries: tuple[str, ...] = ("keras",)
    dimensions: int | None = None
    compiles: bool = False
    contiguous: bool = False
    shards: int = 1
    optional: bool = False
    precisions: tuple[str, ...] = PRECISIONS

    def takes_part(self, work: str, case: Case, precision: str, named: bool) -> bool:
        """Return whether it is measured at a work; `named` tells if the user asked for it."""
        if work not in self.makers or precision not in self.precisions:
            return False
        if self.dimensions == (2 if case.side else 3):
            return named and not case.side
        return named or not self.optional

    @property
    def imports(self) -> tuple[str, ...]:
        """The modules that its program imports; PyTorch imports some when they are first used."""
        if not self.is_rival:
            return self.libraries
        used = "torch._inductor.compile_fx" if self.compiles else "torch._dynamo"
        return (*self.libraries, used)

    @property
    def is_rival(self) -> bool:
        """Whether it is one of PyTorch's programs."""
        return self.libraries == ("torch",)

    @property
    def is_installed(self) -> bool:
        """Whether all its libraries are installed."""
        return all(map(find_spec, self.libraries))


def environment(script: str, case: Case, **settings: Any) -> "TrainingEnvironment":
    """Return a script's CNNEnv on a case's network and data."""
    front_end = importlib.import_module(script).CNNEnv
    return front_end(spec=case.spec, data=case.dataset, batch_size=case.batch_size, **settings)


def train(script: str, case: Case, precision: str, **settings: Any) -> Program:
    """Return a Program with a script's `env.step()`."""
    env = environment(script, case, precision=precision, **MOMENTUM, **settings)
    return Program(env.model, partial(repeat, env.step))


def evaluate(script: str, case: Case, precision: str) -> Program:
    """Return a Program with a script's `env.predict` of a batch, or `wrn3d.predict`'s logits of one
    volume."""
    from wrn3d.predict import Classifier

    env = environment(script, case, precision=precision)
    if case.batch_size > 1:
        return Program(env.model, partial(repeat, partial(env.predict, case.volumes)))
    with tempfile.TemporaryDirectory() as folder:
        env.save(path := Path(folder) / "network.safetensors")
        logits = Classifier(path).logits
    return Program(env.model, partial(repeat, partial(logits, case.volumes)))


def onnx(case: Case, precision: str) -> Program:
    """Return a Program with ONNX Runtime on the exported network."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = machine.usable_cores()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        path = str(Path(folder) / "network.onnx")
        env = environment(KERAS_SCRIPT, case)
        env.keras_model.export(path, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    batch = {session.get_inputs()[0].name: case.volumes}
    return Program(None, partial(repeat, partial(session.run, None, batch)))


def stock_keras(case: Case, precision: str) -> Program:
    """Return a Program that trains the network in stock Keras, as a newcomer would write it."""
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
    model.compile(keras.optimizers.SGD(0.01, **MOMENTUM), loss=loss, metrics=["accuracy"])
    dataset, rows = case.dataset, slice(case.whole_batches)
    epoch = dataset.normalise(dataset.train_volumes[rows]), dataset.train_labels[rows]
    return Program(model, partial(fit_until, model, epoch, case.batch_size))


def pytorch(
    kind: str, dimensions: int, memory_format: str, compiled: bool, case: Case, precision: str
) -> Program:
    """Return a Program of the network in PyTorch; `kind` is "Training" or "Evaluation"."""
    from benchmarks import pytorch  # needs PyTorch, which may be missing

    program = getattr(pytorch, kind)(case, precision, dimensions, memory_format, compiled)
    return Program(program.model, partial(repeat, program.step))


def matmul(case: Case, precision: str) -> Program:
    """Return a Program that multiplies two matrices: 2 MATRIX_SIDE**3 operations an iteration."""
    import tensorflow as tf

    matrix = tf.random.stateless_normal([MATRIX_SIDE, MATRIX_SIDE], [0, 1])
    matrix = tf.cast(matrix, precision)
    product = tf.function(lambda: tf.matmul(matrix, matrix)[0, 0])
    return Program(None, partial(repeat, lambda: product().numpy()))


def _in_pytorch(title, dimensions, memory_format, compiled=False):
    contiguous = memory_format == "contiguous_format"
    kinds = {"training": "Training", "start": "Training"}
    if not contiguous:
        kinds["evaluation"] = "Evaluation"
    makers = {
        work: partial(pytorch, kind, dimensions, memory_format, compiled)
        for work, kind in kinds.items()
    }
    title = f"PyTorch {title}{', compiled' if compiled else ''}"
    return Contender(title, makers, ("torch",), dimensions, compiled, contiguous)


_trained = partial(train, TENSORLAYER_SCRIPT)
_trained_by_keras = partial(train, KERAS_SCRIPT)
CONTENDERS = {
    MATMUL: Contender("TensorFlow's matmul", {"training": matmul}),
    "tensorlayer": Contender(
        "wrn3d, S = 1",
        {
            "training": _trained,
            "start": _trained,
            "evaluation": partial(evaluate, TENSORLAYER_SCRIPT),
        },
        ("keras", "tensorlayer"),
    ),
    "tensorlayer-2": Contender(
        "wrn3d, S = 2, local",
        {"training": partial(train, TENSORLAYER_SCRIPT, shards=2, batch_norm="local")},
        ("keras", "tensorlayer"),
        shards=2,
    ),
    "keras": Contender(
        "wrn3d, Keras script",
        {
            "training": _trained_by_keras,
            "start": _trained_by_keras,
            "evaluation": partial(evaluate, KERAS_SCRIPT),
        },
        optional=True,
    ),
    STOCK: Contender("stock Keras Conv3D", {"training": stock_keras}),
    "torch-2d": _in_pytorch("Conv2d", 2, "channels_last"),
    "torch-2d-compiled": _in_pytorch("Conv2d", 2, "channels_last", True),
    "torch-3d": _in_pytorch("Conv3d, contiguous", 3, "contiguous_format"),
    "torch-3d-compiled": _in_pytorch("Conv3d, contiguous", 3, "contiguous_format", True),
    "torch-3d-last": _in_pytorch("Conv3d", 3, "channels_last_3d"),
    "torch-3d-last-compiled": _in_pytorch("Conv3d", 3, "channels_last_3d", True),
    "onnx": Contender(
        "ONNX Runtime",
        {"evaluation": onnx},
        ("keras", "onnxruntime", "onnx", "tf2onnx"),
        precisions=("float32",),
    ),
}


def repeat(step: Callable[[], Any], enough: Enough) -> None:
    """Call `step()` and then `enough()`, over and over, until `enough()` returns True."""
    while True:
        step()
        if enough():
            return


def fit_until(model: Any, data: Sequence[np.ndarray], batch_size: int, enough: Enough) -> None:
    """Run `model.fit`, and call `enough()` after each batch until it returns True."""
    import keras

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = enough()

    callbacks = [Stop()]
    model.fit(*data, batch_size, epochs=10**6, verbose=0, callbacks=callbacks)
