"""NaN, infinity and overflow anywhere in the network: the training loss shows each at once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import wrn3d
from tests.support.networks import BUILDERS, FLAGS, sample
from wrn3d.distributed.shards import Sharding
from wrn3d.network import ops
from wrn3d.network.variables import assign, named_variables

SPEC = wrn3d.WideResNetSpec(10, 1, input_shape=(1, 8, 8, 3), shortcut="projection")
FAULTS = [
    ("volumes", np.nan),
    ("volumes", np.inf),
    ("conv0", np.nan),
    ("group1.block0.conv0", np.inf),
    ("group0.block0.bn0.weight", np.nan),
    ("group1.block0.bn1.weight", np.inf),
    ("group1.block0.bn1.weight", 3e38),  # the activations behind it overflow
    ("group2.block0.bn0.bias", np.nan),
    ("bn.bias", -np.inf),
    ("fc.bias", np.nan),
]


def loaded(spec, precision, folder):
    """Return Keras's model after saving and loading."""
    wrn3d.keras_model(spec, precision=precision).save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def cloned(spec, precision, folder):
    """Return Keras's copy of the model."""
    return keras.models.clone_model(wrn3d.keras_model(spec, precision=precision))


def part(spec, precision, folder):
    """Return a model made of the layers, without the class whose `call` looks for NaN."""
    model = wrn3d.keras_model(spec, precision=precision)
    return keras.Model(model.inputs[0], model.outputs[0])


def built(front_end):
    return lambda spec, precision, folder: BUILDERS[front_end](spec, precision=precision)


CASES = [
    *((front_end, built(front_end), None) for front_end in BUILDERS),
    *(
        pytest.param(front_end, built(front_end), 2, marks=pytest.mark.slow)
        for front_end in BUILDERS
    ),
    *(("keras", change, None) for change in (loaded, cloned, part)),
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("front_end, make, shards", CASES)
def test_any_fault_is_in_the_loss(front_end, make, shards, precision, tmp_path):
    """In float32 the fused batch norm and ReLU make 0 of NaN. Eager ops are never fused."""
    model, flag = make(SPEC, precision, tmp_path), FLAGS[front_end]
    variables, (weights, healthy, labels) = named_variables(model), sample(SPEC)

    def training_loss(volumes):
        with tf.GradientTape() as tape:
            loss = ops.cross_entropy(labels, model(volumes, **{flag: True}))
        return loss, tape.gradient(loss, model.trainable_weights[-1])

    ways = [training_loss]
    if shards:
        ways = [
            Sharding(shards, synchronised).around(training_loss) for synchronised in (True, False)
        ]
    for way in ways:
        graph = tf.function(way, autograph=False)
        for name, fault in FAULTS:
            if make is part and fault == -np.inf:
                continue  # ReLU rightly makes 0 of it
            volumes, spoiled = healthy.copy(), {key: a.copy() for key, a in weights.items()}
            array = volumes if name == "volumes" else spoiled[name]
            array.flat[array.size // 2] = fault  # at depth 1 only a kernel's centre slice counts
            assign(variables, spoiled)
            for loss, gradient in (graph(volumes), way(volumes)):
                assert not np.isfinite(loss), (name, fault)
                assert not np.isfinite(gradient).any(), (name, fault)
            assign(variables, weights)
            assert np.isfinite(graph(healthy)[0])
