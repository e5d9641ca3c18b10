"""Both models, compared with the NumPy reference and used as models of their frameworks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorlayer as tl

import wrn3d
from tests.support.networks import BUILDERS, assert_close, assert_same_bits, model_outputs, sample
from wrn3d import WideResNetSpec
from wrn3d.network.models import initialize
from wrn3d.network.parameters import network_parameters
from wrn3d.network.variables import named_variables
from wrn3d.training.losses import CrossEntropy
from wrn3d.verify.reference import Reference

SMALL = WideResNetSpec(10, 1, input_shape=(1, 8, 8, 3))
DEEP = WideResNetSpec(16, 1, input_shape=(1, 8, 8, 3), shortcut="projection")
VOLUMES = WideResNetSpec(10, 1, input_shape=(5, 7, 6, 1), strides=(2, 1, 2), num_classes=3)
SLOW_SPECS = [
    WideResNetSpec(10, 2, input_shape=(1, 9, 7, 1), num_classes=3),
    WideResNetSpec(10, 2, input_shape=(6, 8, 4, 2)),
    WideResNetSpec(10, 1, input_shape=(5, 7, 9, 1), shortcut="projection"),
    WideResNetSpec(10, 2, input_shape=(2, 3, 1, 1)),
    WideResNetSpec(10, 1, input_shape=(1, 24, 20, 3), shortcut="projection", strides=(2, 2, 2)),
    WideResNetSpec(10, 1, input_shape=(6, 11, 8, 1), strides=(2, 1, 2)),
]
SPECS = [SMALL, DEEP, VOLUMES, *(pytest.param(spec, marks=pytest.mark.slow) for spec in SLOW_SPECS)]
FROM_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def reference_outputs(spec, weights, volumes, labels):
    """Return the arrays of `model_outputs`, computed by the NumPy reference in float64."""
    evaluation = Reference(spec, weights, volumes, training=False).logits
    trained = Reference(spec, weights, volumes, training=True)
    loss = trained.loss_and_backward(labels)
    steps = {"evaluation": evaluation, "logits": trained.logits, "loss": loss}
    return steps | trained.gradients | trained.averages


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_both_models_agree_with_the_reference_and_to_the_last_bit(spec):
    case = sample(spec)
    expected = reference_outputs(spec, *case)
    both = [model_outputs(front_end, spec, *case) for front_end in BUILDERS]
    for arrays in both:
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            assert_close(arrays[name], array, name)
    assert_same_bits(*both)
    if spec.input_shape[0] == 1:  # the outer slices of a kernel meet no input
        gradient = both[0]["group1.block0.conv0"]
        assert gradient[1].all() and not gradient[[0, 2]].any()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_bfloat16_is_the_same_network_more_coarsely(spec):
    case = sample(spec, 16)
    expected = reference_outputs(spec, *case)
    both = [model_outputs(front_end, spec, *case, "bfloat16") for front_end in BUILDERS]
    assert_same_bits(*both)
    # Every layer rounds to 8 bits. Compare norms, because single elements may differ more.
    errors = {name: relative_error(both[0][name], array) for name, array in expected.items()}
    assert 1e-4 < errors["logits"] < 0.05
    assert max(error for name, error in errors.items() if "running" in name) < 0.02
    gradients = [name for name in case[0] if "running" not in name]
    assert max(errors[name] for name in gradients) < 0.35
    joined = [
        np.concatenate([np.ravel(arrays[name]) for name in gradients])
        for arrays in (both[0], expected)
    ]
    assert relative_error(*joined) < 0.22


def relative_error(actual, expected):
    return np.linalg.norm(np.asarray(actual, np.float64) - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("spec", [DEEP, VOLUMES], ids=str)
def test_names_shapes_and_values_are_those_of_the_parameters(front_end, spec):
    model, parameters = BUILDERS[front_end](spec, seed=7), network_parameters(spec)
    variables = named_variables(model)
    assert variables.keys() == {parameter.name for parameter in parameters}
    for parameter in parameters:
        array = variables[parameter.name].numpy()
        assert array.dtype == np.float32
        assert np.array_equal(array, parameter.initial_value(7)), parameter.name
    shapes = [tuple(weight.shape) for weight in model.trainable_weights]
    assert sorted(shapes) == sorted(p.shape for p in parameters if p.trainable)


def test_models_are_those_of_their_frameworks():
    ours = wrn3d.tensorlayer_model(SMALL)
    assert isinstance(ours, tl.models.Model)
    assert "Conv3d(filters=64, kernel_size=3, stride=2, name='group2.block0.conv0')" in repr(ours)
    model, lines = wrn3d.keras_model(SMALL), []
    model.summary(print_fn=lines.append)
    assert isinstance(model, keras.Model)
    assert any("group2.block0.conv1" in line for line in lines)
    assert model.output_shape == (None, 10)


def test_unknown_precision_is_refused(front_end):
    with pytest.raises(ValueError, match="precision is 'half', but must be float32 or bfloat16"):
        BUILDERS[front_end](SMALL, precision="half")


@pytest.mark.parametrize(
    "dropout, precision",
    [(0.3, "bfloat16"), pytest.param(0.0, "float32", marks=pytest.mark.slow)],
)
def test_keras_model_is_saved_and_loaded_whole(tmp_path, dropout, precision):
    spec = WideResNetSpec(10, 1, dropout=dropout, input_shape=(1, 8, 8, 3))
    _, volumes, labels = sample(spec)
    model = wrn3d.keras_model(spec, seed=np.int64(3), precision=precision)
    model.compile(wrn3d.SGD(0.1, 0.9, True, 5e-4), loss=CrossEntropy(), metrics=["accuracy"])
    model.train_on_batch(volumes, labels)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    assert np.array_equal(model(volumes), loaded(volumes))
    # The file has momentum, weight decay and the position in the dropout masks, too.
    assert model.train_on_batch(volumes, labels) == loaded.train_on_batch(volumes, labels)
    assert np.array_equal(model(volumes), loaded(volumes))


def test_weighted_samples_move_keras_models_as_with_keras_own_loss():
    _, volumes, labels = sample(SMALL)
    models = wrn3d.keras_model(SMALL), wrn3d.keras_model(SMALL)
    for model, loss in zip(models, (CrossEntropy(), FROM_LOGITS), strict=True):
        model.compile(wrn3d.SGD(0.1), loss=loss, run_eagerly=True)
    for weights in (None, [1] * 6, [1, 0, 0, 0, 0, 0], [0.5, 2, 1, 1, 3, 0]):
        moved = []
        for model in models:
            initialize(model, SMALL, 0)
            model.train_on_batch(volumes, labels, weights and np.array(weights, np.float32))
            moved.append(named_variables(model)["fc.bias"].numpy())
        np.testing.assert_allclose(*moved, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_keras_model_learns_with_fit(digits):
    model = wrn3d.keras_model(WideResNetSpec(10, 1, input_shape=(1, 16, 16, 3)))
    model.compile(wrn3d.SGD(0.02, 0.9), metrics=["accuracy"], loss=FROM_LOGITS)
    volumes = digits.normalise(digits.train_volumes[:640])[:, :, ::2, ::2]
    model.fit(volumes, digits.train_labels[:640], batch_size=32, epochs=2, verbose=0)
    accuracy = model.evaluate(volumes, digits.train_labels[:640], verbose=0)[1]
    assert accuracy > 0.5


def test_keras_model_is_a_part_of_a_larger_one():
    _, volumes, labels = sample(SMALL)
    part = wrn3d.keras_model(SMALL)
    before = named_variables(part)["conv0"].numpy()
    inputs = keras.Input(SMALL.input_shape)
    larger = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.ReLU()(part(inputs))))
    larger.compile(keras.optimizers.Adam(0.01), loss=FROM_LOGITS, run_eagerly=True)
    larger.fit(volumes, labels % 2, verbose=0)
    assert larger.output_shape == (None, 2)
    assert not np.array_equal(before, named_variables(part)["conv0"].numpy())


def test_frozen_keras_model_keeps_its_running_averages():
    model = wrn3d.keras_model(SMALL)
    model.trainable = False
    model(sample(SMALL)[1], training=True)
    assert not named_variables(model)["bn.running_mean"].numpy().any()


def test_global_seed_of_the_caller_stays():
    tf.random.set_seed(123)
    expected = tf.random.uniform([3]).numpy()
    tf.random.set_seed(123)
    wrn3d.keras_model(SMALL)
    assert np.array_equal(tf.random.uniform([3]).numpy(), expected)
