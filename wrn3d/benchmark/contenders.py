"""Who competes: this project's front ends, stock Keras, PyTorch, and the machine's matmul rate.

A contender is made for (case, precision). Its `train` trains, calling `enough` after every
iteration until that returns True; its `evaluate` runs one batch and returns its size.
"""
import importlib
import time
from importlib.util import find_spec
from itertools import count

from wrn3d.data.batches import batch_at
from wrn3d.network import GROUP_STRIDES, STEM_FILTERS
from wrn3d.runtime import import_tensorflow


class Contender:
    """`title` is the name for people, `library` what it needs to have installed."""

    title: str
    library = "tensorflow"
    images_only = False

    @classmethod
    def is_installed(cls) -> bool:
        return find_spec(cls.library) is not None

    @classmethod
    def import_library(cls):
        importlib.import_module(cls.library)


class Script(Contender):
    """One of this project's scripts, each iteration a call of `env.step()`."""

    script: str

    @classmethod
    def import_library(cls):
        import_tensorflow()

    def __init__(self, case, precision):
        front_end = importlib.import_module(self.script).CNNEnv

        class Environment(front_end):
            def load_data(self):
                return case.dataset()

        self.env = Environment(spec=case.spec, batch_size=case.batch_size, precision=precision)
        self.volumes = evaluation_volumes(case, self.env.dataset)

    def train(self, enough):
        while not enough():
            self.env.step()

    def evaluate(self):
        return len(self.env.predict(self.volumes))


class TensorLayerScript(Script):
    title = "wrn3d TensorLayer, env.step()"
    script = "cifar_wide_resnet_tl"


class KerasScript(Script):
    title = "wrn3d Keras, env.step()"
    script = "cifar_wide_resnet_keras"


class KerasFit(KerasScript):
    """The same model and batches as KerasScript in `model.fit`."""

    title = "wrn3d Keras, model.fit"

    def train(self, enough):
        env = self.env

        def batches():
            for start in count(step=env.batch_num):
                yield batch_at(env.dataset, 0, 0, start % (env.num_examples - env.batch_num),
                               env.batch_num, augment=False)

        fit_until(enough, env.model, batches(), steps_per_epoch=10**6)


class StockKeras(Contender):
    """The network as a newcomer to Keras would write and fit it."""

    title = "stock Keras Conv3D, model.fit"

    @classmethod
    def import_library(cls):
        import_tensorflow()

    def __init__(self, case, precision):
        import keras

        keras.mixed_precision.set_global_policy(
            "mixed_bfloat16" if precision == "bfloat16" else precision)
        self.batch_size = case.batch_size
        self.model = stock_keras_model(case.spec)
        self.dataset = case.dataset()
        self.volumes = evaluation_volumes(case, self.dataset)

    def train(self, enough):
        volumes = self.dataset.normalise(self.dataset.train_volumes)
        fit_until(enough, self.model, volumes, self.dataset.train_labels,
                  batch_size=self.batch_size, epochs=10**6)

    def evaluate(self):
        return len(self.model.predict(self.volumes, batch_size=len(self.volumes), verbose=0))


def fit_until(enough, model, *data, **options):
    """`model.fit` that stops after the batch where `enough()` says so."""
    import keras

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = self.model.stop_training or enough()

    model.fit(*data, verbose=0, callbacks=[Stop()], **options)


def evaluation_volumes(case, dataset):
    """The case's batch of test volumes, normalised, repeated where the split has too few."""
    rows = [row % len(dataset.test_labels) for row in range(case.evaluation_batch)]
    return dataset.normalise(dataset.test_volumes[rows])


def stock_keras_model(spec):
    """The same network in stock Keras layers, compiled."""
    import keras
    from keras import layers

    def batch_norm_relu(x):
        return layers.ReLU()(layers.BatchNormalization()(x))

    def conv3d(x, filters, size, stride):
        return layers.Conv3D(filters, size, stride, padding="same", use_bias=False)(x)

    volumes = keras.Input(spec.input_shape)
    x = conv3d(volumes, STEM_FILTERS, 3, 1)
    for filters, group_stride in zip(spec.group_filters, GROUP_STRIDES, strict=True):
        for block in range(spec.blocks_per_group):
            stride = group_stride if block == 0 else 1
            activated = batch_norm_relu(x)
            y = conv3d(activated, filters, 3, stride)
            y = conv3d(batch_norm_relu(y), filters, 3, 1)
            shortcut = x if x.shape[-1] == filters else conv3d(activated, filters, 1, stride)
            x = layers.Add()([y, shortcut])
    x = layers.GlobalAveragePooling3D()(batch_norm_relu(x))
    model = keras.Model(volumes, layers.Dense(spec.num_classes, dtype="float32")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss=loss, metrics=["accuracy"])
    return model


class PyTorch(Contender):
    """The same network in PyTorch modules, in bfloat16 under its autocast."""

    library = "torch"
    dimensions = 3
    memory_format = "contiguous_format"

    def __init__(self, case, precision):
        from wrn3d.benchmark import pytorch

        dataset = case.dataset()
        self.trainer = pytorch.Trainer(case.spec, self.dimensions, self.memory_format, precision)
        self.data = [self.trainer.volumes(dataset.normalise(dataset.train_volumes)),
                     self.trainer.labels(dataset.train_labels)]
        self.batch_size = case.batch_size
        self.evaluated = self.trainer.volumes(evaluation_volumes(case, dataset))

    def train(self, enough):
        start = 0
        while not enough():
            rows = slice(start, start + self.batch_size)
            self.trainer.step(*(array[rows] for array in self.data))
            start = (start + self.batch_size) % (len(self.data[1]) - self.batch_size)

    def evaluate(self):
        return len(self.trainer.logits(self.evaluated))


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


class Matmul(Contender):
    """The ceiling: TensorFlow's matmul of 2048x2048 matrices."""

    name = "matmul"
    title = "the machine's matmul rate"

    @staticmethod
    def rate(precision, seconds) -> float:
        """Operations/s, the median over `seconds`."""
        import_tensorflow()
        import tensorflow as tf

        size = 2048
        matrix = tf.cast(tf.random.stateless_normal([size, size], [0, 1]), precision)
        product = tf.function(lambda: tf.matmul(matrix, matrix)[0, 0])
        times = []
        while len(times) < 5 or sum(times) < seconds:
            start = time.perf_counter()
            product().numpy()
            times.append(time.perf_counter() - start)
        return 2 * size**3 / sorted(times[2:])[len(times[2:]) // 2]


CONTENDERS = {
    "tensorlayer": TensorLayerScript,
    "keras": KerasScript,
    "keras-fit": KerasFit,
    "stock": StockKeras,
    "torch-3d": PyTorchConv3d,
    "torch-3d-last": PyTorchConv3dLast,
    "torch-2d-last": PyTorchConv2dLast,
}
