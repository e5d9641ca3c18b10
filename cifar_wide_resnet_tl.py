"""Train a 3D Wide ResNet with TensorLayer, ten iterations or as many as you like.

As a command:

    python cifar_wide_resnet_tl.py                     # CIFAR-10, downloaded when it is not there
    python cifar_wide_resnet_tl.py --dataset digits    # real digits, embedded: no download

From a program of yours, which decides what the next iteration does:

    from cifar_wide_resnet_tl import CNNEnv

    env = CNNEnv(dataset="digits")
    for _ in range(10):
        result = env.step(learning_rate=0.02)          # ONE iteration
        print(result.loss, result.accuracy)

The network is the one of `cifar_wide_resnet_keras.py`; this script trains it as TensorLayer is
used, with a gradient tape. With the same seed both give the same weights, to the last bit.
"""

import sys

from wrn3d.training.environment import TrainingEnvironment


class CNNEnv(TrainingEnvironment):
    """The training loop as an environment; what it offers is described in its base class."""

    front_end = "TensorLayer"

    def build(self):
        import tensorflow as tf  # here, so that --help and importing this file are instant

        import wrn3d
        from wrn3d.network.ops import accuracy, cross_entropy

        self.model = wrn3d.tensorlayer_model(self.spec, self.config.seed, self.config.precision)
        self.optimizer = wrn3d.make_optimizer(self.config, self.spec)
        weights = self.model.trainable_weights

        def loss_and_gradients(volumes, labels):
            with tf.GradientTape() as tape:
                logits = self.model(volumes, is_train=True)
                loss = cross_entropy(labels, logits, **self.loss_settings)
            return loss, accuracy(labels, logits), tape.gradient(loss, weights)

        def train(volumes, labels):
            loss, right, gradients = loss_and_gradients(volumes, labels)
            self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
            return loss, right

        def evaluate(volumes):
            return self.model(volumes, is_train=False)

        # Nothing here depends on a tensor's value: AutoGraph would only take a second of the start.
        # Each of `sizes` is a graph of its own; else other batch lengths share one.
        same_graph = not self.config.sizes
        shared = self.worker.shared  # of several workers each has some of a batch's rows
        self._train = tf.function(shared(train), reduce_retracing=same_graph, autograph=False)
        self._loss_and_gradients = tf.function(
            shared(loss_and_gradients), reduce_retracing=same_graph, autograph=False
        )
        self._evaluate = tf.function(evaluate, reduce_retracing=True, autograph=False)

    def train_batch(self, volumes, labels, learning_rate):
        self.optimizer.learning_rate = learning_rate
        return self._train(volumes, labels)

    def loss_and_gradients(self, volumes, labels):
        return self._loss_and_gradients(volumes, labels)

    def logits(self, volumes):
        return self._evaluate(volumes).numpy()


if __name__ == "__main__":
    from wrn3d.runs.command import main

    sys.exit(main(CNNEnv, __doc__))
