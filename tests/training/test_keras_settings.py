"""Keras's and TensorFlow's process-wide settings change no bit of a run, or are refused."""

import functools
import json
from contextlib import contextmanager

import keras
import numpy as np
import pytest
import tensorflow as tf

import wrn3d
from tests.support.environments import SCRIPTS, environment_class, small_environment
from tests.support.processes import FROM_ANYWHERE, run_python
from tests.training.states import same
from wrn3d.data.dataset import Dataset
from wrn3d.system.errors import UsageError
from wrn3d.training.losses import BatchLoss, CrossEntropy

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (40, 8, 8, 1), np.uint8), np.arange(40) % 4
SETTINGS = {
    "sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "dropout": 0.2},
    "adam": {"optimizer": "adam"},
    "muon": {"optimizer": "muon", "momentum": 0.9, "precision": "bfloat16", "averaging": 0.9},
}
POLICY = keras.config.set_dtype_policy, keras.config.dtype_policy
FLOATX = keras.config.set_floatx, keras.config.floatx
CHANGES = [
    *((*FLOATX, name) for name in ("float16", "bfloat16", "float64")),
    *((*POLICY, f"mixed_{name}") for name in ("float16", "bfloat16")),
    *((*POLICY, name) for name in ("bfloat16", "float64", "int8_from_float32")),
    (keras.config.set_image_data_format, keras.config.image_data_format, "channels_first"),
    (keras.config.set_epsilon, keras.config.epsilon, 1e-2),
    (tf.config.run_functions_eagerly, tf.config.functions_run_eagerly, True),
]


def run(front_end, optimizer):
    """Return everything that a short run gives, as bytes and numbers."""
    data = Dataset.from_arrays(IMAGES, LABELS, 255 - IMAGES[:12], LABELS[:12])
    settings = {"depth": 10, "widen_factor": 1, "batch_size": 8} | SETTINGS[optimizer]
    env = environment_class(front_end)(data=data, **settings)
    steps = [(step.loss, step.accuracy) for step in (env.step() for _ in range(2))]
    arrays = env.gradients() | vars(env.snapshot())["weights"]
    logits = env.predict(env.x_test), env.keras_model.predict(env.x_test, verbose=0)
    return [
        steps,
        env.evaluate(),
        *(array.tobytes() for array in (*arrays.values(), *logits)),
        *map(str, {array.dtype for array in (*arrays.values(), *logits)}),
    ]


def fitted(*_):
    """Return the weights and the losses after a model's own `fit`."""
    spec = wrn3d.WideResNetSpec(10, 1, input_shape=(1, 8, 8, 1), num_classes=4)
    model = wrn3d.keras_model(spec)
    model.compile(wrn3d.SGD(0.1, 0.9), loss=CrossEntropy(), metrics=[BatchLoss(), "accuracy"])
    volumes = IMAGES[:16, None].astype(np.float32) / 255
    history = model.fit(volumes, LABELS[:16], batch_size=8, shuffle=False, verbose=0).history
    return [history, *(array.tobytes() for array in model.get_weights())]


undisturbed = functools.cache(lambda call, *arguments: call(*arguments))


@contextmanager
def changed(change, current, value):
    before = current()
    change(value)
    try:
        yield
        assert getattr(current(), "name", current()) == value  # as the user set it
    finally:
        change(before)


def check_no_bit_changes(change, calls):
    for call, *arguments in calls:
        expected = undisturbed(call, *arguments)
        with changed(*change):
            assert call(*arguments) == expected, arguments


def test_half_precision_as_keras_default_changes_no_bit():
    check_no_bit_changes(CHANGES[0], [(run, "keras", "sgd")])


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=pytest.mark.slow if number in (0, 3) else pytest.mark.soak)
        for number in range(len(CHANGES))
    ],
)
def test_settings_change_no_bit(number):
    optimizers = SETTINGS if number == 0 else ["sgd"]
    calls = [(run, front_end, optimizer) for front_end in SCRIPTS for optimizer in optimizers]
    check_no_bit_changes(CHANGES[number], [*calls, (fitted,)])


PROGRAM = """
import tensorflow as tf
{before}
from tests.training import test_keras_settings as tests
import hashlib
for front_end in ("tensorlayer", "keras"):
    try:
        print(hashlib.sha256(repr(tests.run(front_end, "sgd")).encode()).hexdigest())
    except tests.UsageError as error:
        print(error)
"""
NOT_EAGER = (
    "TensorFlow's eager execution is off here (tf.compat.v1.disable_eager_execution, or inside a "
    "tf.Graph), so nothing would be computed: use wrn3d outside the graph, or in a process that "
    "leaves eager execution on"
)
IN_SCOPE = (
    "a CNNEnv cannot be used inside the scope of a tf.distribute strategy, which would split its "
    "variables: leave strategy.scope() (python -m wrn3d.launch starts several workers)"
)


def output(before, **variables):
    process = run_python("-c", PROGRAM.format(before=before), env=FROM_ANYWHERE | variables)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


@pytest.mark.slow
def test_keras_json_changes_no_bit(tmp_path):
    settings = {"floatx": "float16", "backend": "jax", "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(settings | {"epsilon": 1e-3}))
    plain = output("")
    assert len({*plain}) == 1
    assert output("", KERAS_HOME=str(tmp_path)) == plain


@pytest.mark.slow
def test_environments_without_eager_execution_are_refused():
    assert output("tf.compat.v1.disable_eager_execution()") == [NOT_EAGER] * 2


def test_environments_in_a_graph_or_a_strategys_scope_are_refused(front_end):
    env = small_environment(front_end, volume_size=8, batch_size=8)
    before, calls = env.snapshot(), (env.step, env.evaluate, env.gradients, env.norms, env.snapshot)
    for context, message in (
        (tf.Graph().as_default(), NOT_EAGER),
        (tf.distribute.OneDeviceStrategy("/cpu:0").scope(), IN_SCOPE),
        (tf.distribute.MirroredStrategy(["/cpu:0"]).scope(), IN_SCOPE),
    ):
        with context:
            for call in (*calls, lambda: small_environment(front_end)):
                with pytest.raises(UsageError) as caught:
                    call()
                assert str(caught.value) == message
    assert same(env.snapshot().weights, before.weights) and env.iteration == 0
    with tf.Graph().as_default(), pytest.raises(UsageError, match="eager execution is off"):
        wrn3d.keras_model(env.spec)


@pytest.mark.slow
def test_a_keras_model_made_in_a_strategys_scope_trains_the_same():
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        assert fitted() == undisturbed(fitted)


def test_checking_numerics_reports_nothing_in_a_healthy_run(front_end):
    expected = undisturbed(run, front_end, "sgd")
    tf.debugging.enable_check_numerics()
    try:
        assert run(front_end, "sgd") == expected
    finally:
        tf.debugging.disable_check_numerics()
