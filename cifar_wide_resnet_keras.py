"""Train a 3D Wide ResNet with Keras, ten iterations or as many as you like.

As a command:

    python cifar_wide_resnet_keras.py                  # CIFAR-10, downloaded if it is missing
    python cifar_wide_resnet_keras.py --dataset digits # real digits, embedded: no download

From your own program, which decides what the next iteration does:

    from cifar_wide_resnet_keras import CNNEnv

    env = CNNEnv(dataset="digits")
    for _ in range(10):
        result = env.step(learning_rate=0.02)          # ONE iteration
        print(result.loss, result.accuracy)

The network is the same as in `cifar_wide_resnet_tl.py`. This script trains it as Keras users do,
with `compile` and `train_on_batch`; `env.model.fit` works as well. With the same seed both scripts
give the same weights, to the last bit.
"""

import sys

from wrn3d.training.environment import TrainingEnvironment


class CNNEnv(TrainingEnvironment):
    """The training loop as an environment; the base class documents its methods."""

    front_end = "Keras"

    def build(self) -> None:
        import keras  # here, so that --help and importing this file are instant
        import tensorflow as tf

        import wrn3d
        from wrn3d.network.ops import accuracy
        from wrn3d.training.losses import BatchLoss, CrossEntropy

        self.model = wrn3d.keras_model(self.spec, self.config.seed, self.config.precision)
        self._train_functions: dict = {}  # by the volumes' shape
        if self.config.sizes:  # otherwise Keras refuses all sizes but the network's
            self.model.input_spec = keras.InputSpec(ndim=5)
        self.optimizer = wrn3d.make_optimizer(self.config, self.spec)
        # Each batch is computed in shards; with several workers, each trains on its rows.
        self.model.train_step = self.worker.shared(self.model.train_step)
        self.model.test_step = self.worker.in_shards(self.model.test_step)
        self.model.predict_step = self.worker.in_shards(self.model.predict_step)
        self.model.compile(
            self.optimizer,
            loss=CrossEntropy(**self.loss_settings),
            metrics=[BatchLoss(**self.loss_settings), "accuracy"],
        )
        # Create the metrics' variables now: an iteration that creates variables is traced twice.
        self.model.compute_metrics(None, tf.zeros(1), tf.zeros((1, self.nb_classes)))
        self.model.reset_metrics()

        @tf.function(reduce_retracing=not self.config.sizes, autograph=False)
        @self.worker.shared
        def loss_and_gradients(volumes, labels):  # without an update
            with tf.GradientTape() as tape:
                logits = self.model(volumes, training=True)
                loss = self.model.compute_loss(y=labels, y_pred=logits)
            gradients = tape.gradient(loss, self.model.trainable_weights)
            return loss, accuracy(labels, logits), gradients

        self._loss_and_gradients = loss_and_gradients

    def train_batch(self, volumes, labels, learning_rate):
        self.optimizer.learning_rate = learning_rate
        if self.config.sizes:  # each size has a graph of its own
            self._use_train_function(volumes.shape[1:])
        logs = self.model.train_on_batch(volumes, labels, return_dict=True)
        return logs["batch_loss"], logs["accuracy"]

    def _use_train_function(self, shape):
        if shape not in self._train_functions:
            self.model.make_train_function(force=True)
            self._train_functions[shape] = self.model.train_function
        self.model.train_function = self._train_functions[shape]

    def loss_and_gradients(self, volumes, labels):
        return self._loss_and_gradients(volumes, labels)

    def logits(self, volumes):
        return self.model.predict_on_batch(volumes)


if __name__ == "__main__":
    from wrn3d.runs.command import main

    sys.exit(main(CNNEnv, __doc__))
