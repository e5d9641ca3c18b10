"""Train a 3D Wide ResNet with TensorLayer, ten iterations or as many as you like.

As a command:

    python cifar_wide_resnet_tl.py                     # CIFAR-10, downloaded if it is missing
    python cifar_wide_resnet_tl.py --dataset digits    # real digits, embedded: no download

From your own program, which decides what the next iteration does:

    from cifar_wide_resnet_tl import CNNEnv

    env = CNNEnv(dataset="digits")
    for _ in range(10):
        result = env.step(learning_rate=0.02)          # ONE iteration
        print(result.loss, result.accuracy)

The network is the same as in `cifar_wide_resnet_keras.py`. This script trains it as TensorLayer
users do, with a gradient tape. With the same seed both scripts give the same weights, to the last
bit.
"""

import sys

from wrn3d.training.environment import TrainingEnvironment


class CNNEnv(TrainingEnvironment):
    """The training loop as an environment; the base class documents its methods."""

    front_end = "TensorLayer"

    def build(self) -> None:
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

        # AutoGraph would delay the start by a second for nothing: no branch depends on a tensor.
        # Progressive resizing needs one graph for each size; otherwise all batches share a graph.
        one_graph = not self.config.sizes
        # Each batch is computed in shards; with several workers, each trains on its rows.
        shared = self.worker.shared
        self._train = tf.function(shared(train), reduce_retracing=one_graph, autograph=False)
        self._loss_and_gradients = tf.function(
            shared(loss_and_gradients), reduce_retracing=one_graph, autograph=False
        )
        self._evaluate = tf.function(
            self.worker.in_shards(evaluate), reduce_retracing=True, autograph=False
        )

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
