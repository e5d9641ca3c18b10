"""The network with folded batch norm gives the model's logits, and lets no NaN disappear."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.networks import assert_close, sample
from wrn3d import WideResNetSpec, initial_weights
from wrn3d.network.folded import folded
from wrn3d.verify.reference import Reference

SHAPES = [(1, 9, 12, 3), (4, 8, 6, 1)]  # an image; a volume whose depth shrinks to 1


@pytest.mark.parametrize("shortcut", ["pad", "projection"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_the_numpy_reference(shape, shortcut):
    spec = WideResNetSpec(16, 2, dropout=0.3, num_classes=5, input_shape=shape, shortcut=shortcut)
    weights, volumes, _ = sample(spec)
    # Without offsets TensorFlow fuses other ops.
    for arrays in (weights, initial_weights(spec, 0)):
        expected = Reference(spec, arrays, volumes, training=False).logits
        assert_close(folded(spec, arrays, "float32")(tf.constant(volumes)), expected, "evaluation")
        rough = folded(spec, arrays, "bfloat16")(tf.constant(volumes)).numpy()
        assert np.abs(rough - expected).max() < 0.05 * np.abs(expected).max()


def test_large_weights_stay_outside_the_graph(monkeypatch):
    spec = WideResNetSpec(10, 1, num_classes=5, input_shape=SHAPES[0])
    weights, volumes, _ = sample(spec)
    functions = [folded(spec, weights, "float32")]
    monkeypatch.setattr("wrn3d.network.folded.LARGEST", 0)
    functions.append(folded(spec, weights, "float32"))
    assert_close(*(function(tf.constant(volumes)).numpy() for function in functions), "evaluation")
    inside, outside = (function.graph.as_graph_def().ByteSize() for function in functions)
    assert inside - outside > 0.9 * sum(
        array[1].nbytes if array.shape[0] == 3 else 0 for array in weights.values()
    )


@pytest.mark.parametrize("spoiled", ["input", "group1.block1.conv0", "group2.block0.bn1.bias"])
@pytest.mark.parametrize("shape", SHAPES)
def test_nan_reaches_the_logits(shape, spoiled):
    spec = WideResNetSpec(16, 1, num_classes=5, input_shape=shape)
    weights, volumes, _ = sample(spec)
    array = volumes if spoiled == "input" else weights[spoiled]
    array[(array.shape[0] // 2,) * array.ndim if array.ndim == 1 else ...] = np.nan
    assert np.isnan(folded(spec, weights, "float32")(tf.constant(volumes))).all()
