"""Both models against the NumPy reference, and as what they claim to be in their framework."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorlayer as tl

import wrn3d
from tests.support.reference import Reference
from wrn3d import WideResNetSpec
from wrn3d.network import ops
from wrn3d.network.parameters import network_parameters
from wrn3d.network.variables import assign, named_variables
from wrn3d.training.losses import CrossEntropy

BUILDERS = {"tensorlayer": wrn3d.tensorlayer_model, "keras": wrn3d.keras_model}
SPECS = [
    WideResNetSpec(10, 1, input_shape=(1, 8, 8, 3)),
    WideResNetSpec(10, 2, input_shape=(1, 9, 7, 1), num_classes=3),
    WideResNetSpec(16, 1, input_shape=(1, 8, 8, 3), shortcut="projection"),
    WideResNetSpec(10, 2, input_shape=(6, 8, 4, 2)),
    WideResNetSpec(10, 1, input_shape=(5, 7, 9, 1), shortcut="projection"),
    WideResNetSpec(10, 2, input_shape=(2, 3, 1, 1), shortcut="pad"),
    WideResNetSpec(10, 1, input_shape=(1, 24, 20, 3), shortcut="projection", strides=(2, 2, 2)),
    WideResNetSpec(10, 1, input_shape=(6, 11, 8, 1), shortcut="pad", strides=(2, 1, 2)),
]


def call(front_end, model, volumes, training):
    flag = {"tensorlayer": "is_train", "keras": "training"}[front_end]
    return model(volumes, **{flag: training})


def sample(spec, count=6):
    """Weights and running averages away from their initial values, volumes and labels."""
    rng = np.random.default_rng(1)
    weights = {
        name: array + rng.uniform(0.05, 0.3, array.shape).astype(np.float32) * (array.ndim == 1)
        for name, array in wrn3d.initial_weights(spec, 2).items()
    }
    volumes = rng.standard_normal((count, *spec.input_shape)).astype(np.float32)
    return weights, volumes, rng.integers(0, spec.num_classes, count)


def trained(front_end, variables):
    """{name: TensorFlow's own variable} of the trained ones, which Keras wraps in its own."""
    return {
        name: variable.value if front_end == "keras" else variable
        for name, variable in variables.items()
        if "running" not in name
    }


def assert_close(actual, expected, name, tolerance=2e-5):
    """Equal up to float32 rounding, measured against the array's largest element."""
    error = np.abs(np.asarray(actual, np.float64) - expected).max()
    assert error <= tolerance * max(1e-3, np.abs(expected).max()), (name, error)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_evaluation_agrees_with_the_reference(front_end, spec):
    weights, volumes, _ = sample(spec)
    model = BUILDERS[front_end](spec)
    assign(named_variables(model), weights, "weights")
    logits = call(front_end, model, volumes, training=False)
    assert_close(logits, Reference(spec, weights, volumes, training=False).logits, "logits")


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_training_step_agrees_with_the_reference(front_end, spec):
    weights, volumes, labels = sample(spec)
    reference = Reference(spec, weights, volumes, training=True)
    expected_loss = reference.loss_and_backward(labels)
    model = BUILDERS[front_end](spec)
    variables = named_variables(model)
    assign(variables, weights, "weights")

    with tf.GradientTape() as tape:
        loss = ops.cross_entropy(labels, call(front_end, model, volumes, training=True))
    gradients = tape.gradient(loss, trained(front_end, variables))

    assert_close(loss, expected_loss, "loss")
    for name, gradient in gradients.items():
        assert_close(gradient, reference.gradients[name], name, tolerance=2e-4)
    for name, expected in reference.averages.items():
        assert_close(variables[name].numpy(), expected, name)


def test_outer_slices_of_a_depth_1_network_get_no_gradient(front_end):
    _, volumes, labels = sample(SPECS[0])
    model = BUILDERS[front_end](SPECS[0])
    kernel = named_variables(model)["group1.block0.conv0"]
    with tf.GradientTape() as tape:
        loss = ops.cross_entropy(labels, call(front_end, model, volumes, training=True))
    gradient = tape.gradient(loss, kernel.value if front_end == "keras" else kernel).numpy()
    assert not gradient[[0, 2]].any()
    assert gradient[1].all()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_names_shapes_and_values_are_those_of_the_parameters(front_end, spec):
    variables = named_variables(BUILDERS[front_end](spec, seed=7))
    parameters = network_parameters(spec)
    assert variables.keys() == {parameter.name for parameter in parameters}
    for parameter in parameters:
        array = variables[parameter.name].numpy()
        assert array.dtype == np.float32
        assert np.array_equal(array, parameter.initial_value(7)), parameter.name


def test_trained_weights_are_the_trainable_parameters(front_end):
    model = BUILDERS[front_end](SPECS[2])
    shapes = [tuple(weight.shape) for weight in model.trainable_weights]
    expected = [p.shape for p in network_parameters(SPECS[2]) if p.trainable]
    assert sorted(shapes) == sorted(expected)


def test_both_models_give_the_same_logits_to_the_last_bit():
    for spec in SPECS:
        _, volumes, _ = sample(spec)
        for training in (False, True):
            logits = [
                np.array(call(name, build(spec, seed=3), volumes, training))
                for name, build in BUILDERS.items()
            ]
            assert np.array_equal(*logits), spec


def test_tensorlayer_model_is_a_model():
    model = wrn3d.tensorlayer_model(SPECS[0])
    assert isinstance(model, tl.models.Model)
    assert "group2.block0.conv1" in repr(model)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_bfloat16_is_the_same_network_more_coarsely(spec):
    weights, volumes, labels = sample(spec, 16)
    reference = Reference(spec, weights, volumes, training=True)
    reference.loss_and_backward(labels)
    found = []
    for name, build in BUILDERS.items():
        model = build(spec, precision="bfloat16")
        variables = named_variables(model)
        assign(variables, weights, "weights")
        with tf.GradientTape() as tape:
            logits = call(name, model, volumes, training=True)
            loss = ops.cross_entropy(labels, logits)
        gradients = tape.gradient(loss, trained(name, variables))
        assert {value.dtype for value in (logits, loss, *gradients.values())} == {tf.float32}
        # Rounded to 8 bits in every layer, and not less: by norm, since single elements may differ.
        assert 1e-4 < relative_error(logits, reference.logits) < 0.05
        for key, gradient in gradients.items():
            assert relative_error(gradient, reference.gradients[key]) < 0.35, key
        together = [
            np.concatenate([np.ravel(one[key]) for key in sorted(gradients)])
            for one in (gradients, reference.gradients)
        ]
        assert relative_error(*together) < 0.22
        averages = {key: variables[key].numpy() for key in reference.averages}
        for key, expected in reference.averages.items():
            assert averages[key].dtype == np.float32
            assert relative_error(averages[key], expected) < 0.02, key
        found.append(
            [
                logits,
                loss,
                *(gradients[key] for key in sorted(gradients)),
                *(averages[key] for key in sorted(averages)),
            ]
        )
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))


def relative_error(actual, expected):
    return np.linalg.norm(np.asarray(actual, np.float64) - expected) / np.linalg.norm(expected)


def test_an_unknown_precision_is_refused(front_end):
    with pytest.raises(ValueError, match="precision is 'half', but must be float32 or bfloat16"):
        BUILDERS[front_end](SPECS[0], precision="half")


def test_keras_model_is_a_model():
    model = wrn3d.keras_model(SPECS[0])
    lines = []
    model.summary(print_fn=lines.append)
    assert isinstance(model, keras.Model)
    assert any("group2.block0.conv1" in line for line in lines)
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize(
    "dropout, precision", [(0.0, "float32"), (0.3, "float32"), (0.3, "bfloat16")]
)
def test_keras_model_is_saved_and_loaded_whole(tmp_path, dropout, precision):
    spec = WideResNetSpec(10, 1, dropout=dropout, input_shape=(1, 8, 8, 3))
    _, volumes, labels = sample(spec, 12)
    model = wrn3d.keras_model(spec, precision=precision)
    model.compile(wrn3d.SGD(0.1, 0.9, True, 5e-4), loss=CrossEntropy(), metrics=["accuracy"])
    model.fit(volumes, labels, batch_size=4, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    assert np.array_equal(model.predict(volumes, verbose=0), loaded.predict(volumes, verbose=0))
    # Momentum, weight decay and the place in the dropout masks came along.
    assert model.train_on_batch(volumes, labels) == loaded.train_on_batch(volumes, labels)
    assert np.array_equal(model.predict(volumes, verbose=0), loaded.predict(volumes, verbose=0))


@pytest.mark.parametrize("weights", [None, [1] * 6, [1, 0, 0, 0, 0, 0], [0.5, 2, 1, 1, 3, 0]])
def test_weighted_samples_move_keras_models_as_kerass_own_loss_does(weights):
    spec = SPECS[0]
    _, volumes, labels = sample(spec)
    moved = []
    for loss in (CrossEntropy(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)):
        model = wrn3d.keras_model(spec)
        model.compile(wrn3d.SGD(0.1), loss=loss)
        model.train_on_batch(volumes, labels, weights and np.array(weights, np.float32))
        moved.append(named_variables(model)["fc.bias"].numpy())
    np.testing.assert_allclose(*moved, rtol=1e-4, atol=1e-7)


def test_keras_model_learns_with_fit(digits):
    spec = WideResNetSpec(10, 1)
    model = wrn3d.keras_model(spec)
    model.compile(
        wrn3d.SGD(0.02, 0.9),
        metrics=["accuracy"],
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    volumes = digits.normalise(digits.train_volumes[:640])
    model.fit(volumes, digits.train_labels[:640], batch_size=32, epochs=2, verbose=0)
    accuracy = model.evaluate(volumes, digits.train_labels[:640], verbose=0)[1]
    assert accuracy > 0.5


def test_keras_model_is_a_part_of_a_larger_one():
    spec = SPECS[0]
    _, volumes, labels = sample(spec)
    part = wrn3d.keras_model(spec)
    before = named_variables(part)["conv0"].numpy()
    inputs = keras.Input(spec.input_shape)
    larger = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.ReLU()(part(inputs))))
    larger.compile(
        keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    larger.fit(volumes, labels % 2, verbose=0)
    assert larger.output_shape == (None, 2)
    assert not np.array_equal(before, named_variables(part)["conv0"].numpy())


def test_a_frozen_keras_model_keeps_its_averages():
    spec = SPECS[0]
    _, volumes, _ = sample(spec)
    model = wrn3d.keras_model(spec)
    model.trainable = False
    model(volumes, training=True)
    assert not named_variables(model)["bn.running_mean"].numpy().any()


def test_a_global_seed_of_the_caller_stays():
    tf.random.set_seed(123)
    expected = tf.random.uniform([3]).numpy()
    tf.random.set_seed(123)
    wrn3d.keras_model(SPECS[0])
    assert np.array_equal(tf.random.uniform([3]).numpy(), expected)
