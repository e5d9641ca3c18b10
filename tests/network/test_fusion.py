"""TensorFlow's graph optimizer fuses batch norm and ReLU in training."""

import pytest
import tensorflow as tf
from tensorflow.python.eager import context  # the only way to the optimized graph

import wrn3d
from tests.support.networks import BUILDERS, FLAGS, sample
from wrn3d.distributed.shards import Sharding
from wrn3d.network import ops


@pytest.mark.parametrize("front_end", BUILDERS)
@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (4, 8, 8, 1)], ids=["images", "volumes"])
@pytest.mark.parametrize("shards", [1, 2])
def test_training_has_no_relu_of_its_own(front_end, shape, shards):
    """If one of the optimizer's rewrites fails, it makes none, and only its log says so."""
    spec = wrn3d.WideResNetSpec(10, 1, input_shape=shape, shortcut="projection")
    model = BUILDERS[front_end](spec)
    weights = model.trainable_weights
    if front_end == "keras":  # the tape knows TensorFlow's variables, not Keras's wrappers
        weights = [weight.value for weight in weights]

    def train(volumes, labels):
        with tf.GradientTape() as tape:
            logits = model(volumes, **{FLAGS[front_end]: True})
            loss = ops.cross_entropy(labels, logits)
        return loss, tape.gradient(loss, weights)

    if shards > 1:
        train = Sharding(shards, synchronised=False).around(train)
    _, volumes, labels = sample(spec)
    context.enable_run_metadata()
    try:
        tf.function(train, autograph=False)(volumes, labels)
        graphs = context.export_run_metadata().function_graphs
    finally:
        context.disable_run_metadata()
    ops_used = [node.op for graph in graphs for node in graph.post_optimization_graph.node]
    assert ops_used.count("_FusedBatchNormEx") == ops_used.count("ReluGrad") == 7 * shards
    assert "Relu" not in ops_used
