"""A model's logits on shards of a batch, with either front end's model."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.networks import BUILDERS, FLAGS, sample
from wrn3d import WideResNetSpec
from wrn3d.distributed.shards import Sharding
from wrn3d.network.variables import assign, named_variables, values

SPEC = WideResNetSpec(10, 1, input_shape=(1, 8, 8, 3), shortcut="projection")
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=BUILDERS)
def network(request):
    """A function of (volumes, training, sharding) -> logits, and the model's variables."""
    model = BUILDERS[request.param](SPEC)
    variables, flag = named_variables(model), FLAGS[request.param]
    weights, *_ = sample(SPEC)
    assign(variables, weights)

    def logits(volumes, training, sharding=None):
        def call(volumes):
            return model(volumes, **{flag: training})

        compute = sharding.around(call) if sharding else call
        return tf.function(compute, autograph=False)(tf.constant(volumes)).numpy()

    return logits, variables


@pytest.mark.parametrize("rows", [1, 3, 6])
def test_evaluation_takes_any_number_of_rows(network, rows):
    """TensorFlow's convolutions fail on a shard without rows."""
    logits, _ = network
    volumes = sample(SPEC)[1][:rows]
    sharded = logits(volumes, False, Sharding(4))
    np.testing.assert_allclose(sharded, logits(volumes, False), **ROUNDING)


def test_training_needs_a_row_for_each_shard(network):
    logits, variables = network
    before = values(variables)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a row for each of 2 shards"):
        logits(sample(SPEC)[1][:1], True, Sharding(2))
    for name, array in values(variables).items():
        assert np.array_equal(array, before[name])


def test_a_batch_in_shards_is_trained_like_the_whole(network):
    """Compare logits and running averages, within rounding."""
    logits, variables = network
    weights, volumes, _ = sample(SPEC)
    whole = logits(volumes, True), values(variables)
    assign(variables, weights)
    sharded = logits(volumes, True, Sharding(2)), values(variables)
    np.testing.assert_allclose(sharded[0], whole[0], **ROUNDING)
    for name, array in whole[1].items():
        np.testing.assert_allclose(sharded[1][name], array, **ROUNDING)
        assert ".running_" not in name or not np.array_equal(array, weights[name])
