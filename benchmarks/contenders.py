"""Who competes: this project's front ends, stock Keras and PyTorch, all on the CPU.

A contender is made for (case, precision). Its `train` trains, calling `enough` after every
iteration until that returns True; its `evaluate` runs one batch and returns its size.
"""

import importlib
import os
from importlib.util import find_spec
from itertools import count

from wrn3d.data.batches import batch_at


class Contender:
    """`title` is the name for people, `libraries` what it imports and needs to have installed."""

    title: str
    libraries = ("keras",)
    images_only = False

    @classmethod
    def is_installed(cls) -> bool:
        return all(map(find_spec, cls.libraries))

    @classmethod
    def import_libraries(cls):
        for name in cls.libraries:
            importlib.import_module(name)


class Script(Contender):
    """One of this project's scripts, each iteration a call of `env.step()`."""

    script: str

    def __init__(self, case, precision):
        front_end = importlib.import_module(self.script).CNNEnv

        class Environment(front_end):
            def load_data(self):
                return case.dataset()

        self.env = Environment(spec=case.spec, batch_size=case.batch_size, precision=precision)
        self.evaluation_batch = evaluation_volumes(case, self.env.dataset)

    def train(self, enough):
        repeat(self.env.step, enough)

    def evaluate(self):
        return len(self.env.predict(self.evaluation_batch))


class TensorLayerScript(Script):
    title = "wrn3d TensorLayer, env.step()"
    libraries = ("keras", "tensorlayer")
    script = "cifar_wide_resnet_tl"


class KerasScript(Script):
    title = "wrn3d Keras, env.step()"
    script = "cifar_wide_resnet_keras"


class KerasFit(KerasScript):
    """The same model and batches as KerasScript in `model.fit`."""

    title = "wrn3d Keras, model.fit"

    def train(self, enough):
        batch_size, dataset = self.env.batch_num, self.env.dataset
        epoch = batch_at(dataset, 0, 0, 0, whole_batches(dataset, batch_size))
        fit_until(
            enough, self.env.model, *epoch, batch_size=batch_size, epochs=10**6, shuffle=False
        )


class StockKeras(Contender):
    """The network as a newcomer to Keras would write and fit it."""

    title = "stock Keras Conv3D, model.fit"

    @classmethod
    def import_libraries(cls):
        # Which importing this package sets: a newcomer has what TensorFlow chooses for the CPU.
        os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
        super().import_libraries()

    def __init__(self, case, precision):
        import keras

        from benchmarks.stock import stock_keras_model

        keras.mixed_precision.set_global_policy(
            "mixed_bfloat16" if precision == "bfloat16" else precision
        )
        self.model = stock_keras_model(case.spec)
        self.batch_size = case.batch_size
        self.dataset = case.dataset()
        self.evaluation_batch = evaluation_volumes(case, self.dataset)

    def train(self, enough):
        count = whole_batches(self.dataset, self.batch_size)
        volumes = self.dataset.normalise(self.dataset.train_volumes[:count])
        fit_until(
            enough,
            self.model,
            volumes,
            self.dataset.train_labels[:count],
            batch_size=self.batch_size,
            epochs=10**6,
        )

    def evaluate(self):
        return len(self.model.predict_on_batch(self.evaluation_batch))


class PyTorch(Contender):
    """The same network in PyTorch modules, in bfloat16 under its autocast."""

    libraries = ("torch",)
    dimensions = 3
    memory_format = "contiguous_format"

    def __init__(self, case, precision):
        from benchmarks.pytorch import Trainer

        dataset = case.dataset()
        self.trainer = Trainer(case.spec, self.dimensions, self.memory_format, precision)
        self.volumes = self.trainer.volumes(dataset.normalise(dataset.train_volumes))
        self.labels = self.trainer.labels(dataset.train_labels)
        self.starts = (
            start % (len(self.labels) - case.batch_size) for start in count(step=case.batch_size)
        )
        self.batch_size = case.batch_size
        self.evaluation_batch = self.trainer.volumes(evaluation_volumes(case, dataset))

    def train(self, enough):
        repeat(self.step, enough)

    def step(self):
        start = next(self.starts)
        rows = slice(start, start + self.batch_size)
        return self.trainer.step(self.volumes[rows], self.labels[rows])

    def evaluate(self):
        return len(self.trainer.logits(self.evaluation_batch))


class PyTorchConv3d(PyTorch):
    title = "PyTorch Conv3d"


class PyTorchConv3dLast(PyTorch):
    title = "PyTorch Conv3d, channels_last_3d"
    memory_format = "channels_last_3d"


class PyTorchConv2dLast(PyTorch):
    title = "PyTorch Conv2d, channels_last"
    dimensions = 2
    memory_format = "channels_last"
    images_only = True


CONTENDERS = {
    "tensorlayer": TensorLayerScript,
    "keras": KerasScript,
    "keras-fit": KerasFit,
    "stock": StockKeras,
    "torch-3d": PyTorchConv3d,
    "torch-3d-last": PyTorchConv3dLast,
    "torch-2d-last": PyTorchConv2dLast,
}


def evaluation_volumes(case, dataset):
    """The case's batch of test volumes, normalised, repeated where the split has too few."""
    rows = [row % len(dataset.test_labels) for row in range(case.evaluation_batch)]
    return dataset.normalise(dataset.test_volumes[rows])


def whole_batches(dataset, batch_size):
    """Training samples in an epoch of whole batches: one on a shorter last one would look fast."""
    return len(dataset.train_labels) // batch_size * batch_size


def repeat(step, enough):
    """Step until `enough()`, asked after every step, says so."""
    while True:
        step()
        if enough():
            return


def fit_until(enough, model, *data, **options):
    """`model.fit` that stops after the batch where `enough()` says so."""
    import keras

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = enough()

    model.fit(*data, verbose=0, callbacks=[Stop()], **options)
