"""A run's network as a Keras model for other programs: saved, served, exported, trained."""

import keras
import numpy as np
import onnxruntime
import pytest

import wrn3d
from tests.support.environments import small_environment
from tests.support.processes import FROM_ANYWHERE, run_python
from tests.training.states import same, tensorlayer_slow
from wrn3d.network.variables import named_variables, values
from wrn3d.training.losses import BatchLoss, CrossEntropy

IMPORTS = {
    "tensorlayer": "import wrn3d; from tensorflow import keras",
    "keras": "import keras, wrn3d",
}


def trained(front_end, **settings):
    """Return a run of either script, with dropout, after an iteration."""
    env = small_environment(front_end, batch_size=8, dropout=0.2, **settings)
    env.step()
    return env


def run_elsewhere(folder, imports, logits):
    """Return the logits (5, classes) that another process computes for volumes.npy."""
    program = f"""
{imports}
import numpy, sys
volumes = numpy.load("volumes.npy")
numpy.save("logits.npy", {logits})
assert ("wrn3d" in sys.modules) == ("wrn3d" in {imports!r})"""
    process = run_python("-W", "error::UserWarning", "-c", program, cwd=folder, env=FROM_ANYWHERE)
    assert process.returncode == 0, process.stderr
    return np.load(folder / "logits.npy")


@pytest.mark.slow
def test_saved_and_exported_models_give_the_same_logits_in_other_processes(tmp_path, front_end):
    env = trained(front_end)
    env.keras_model.save(tmp_path / "model.keras")
    env.keras_model.export(tmp_path / "served", verbose=False)
    np.save(tmp_path / "volumes.npy", env.x_test[:5])
    expected = env.predict(env.x_test[:5])
    opened = "keras.models.load_model('model.keras').predict_on_batch(volumes)"
    assert np.array_equal(run_elsewhere(tmp_path, IMPORTS[front_end], opened), expected)
    load = "import tensorflow; served = tensorflow.saved_model.load('served')"
    logits = run_elsewhere(tmp_path, load, "served.serve(volumes)")
    # Without wrn3d, TensorFlow may leave oneDNN off.
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("bfloat16", 0.05)])
@tensorlayer_slow
def test_an_onnx_file_gives_the_same_logits_in_float32(tmp_path, front_end, precision, tolerance):
    env = trained(front_end, precision=precision)
    volumes, path = env.x_test[:5], tmp_path / "model.onnx"
    env.keras_model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    [logits] = session.run(None, {session.get_inputs()[0].name: volumes})
    np.testing.assert_allclose(logits, env.predict(volumes), rtol=tolerance, atol=tolerance)


@tensorlayer_slow
def test_a_runs_keras_model_trains_on_as_the_run_does(front_end):
    env = trained(front_end)
    start, model = env.snapshot(), env.keras_model
    volumes, labels = env.x_train[:8], np.arange(8)
    model.compile(wrn3d.SGD(0.01), loss=CrossEntropy(), metrics=[BatchLoss()])
    logs = [model.train_on_batch(volumes, labels, return_dict=True) for _ in range(3)]
    arrays = values(named_variables(model))

    env.build()  # a Keras script's model was compiled anew
    env.optimizer.build(env.model.trainable_weights)
    env.restore(start)
    losses = [env.train_batch(volumes, labels, 0.01)[0] for _ in range(3)]
    assert losses == [one["batch_loss"] for one in logs]
    assert same(env.get_weights(), arrays)
    assert not np.array_equal(arrays["conv0"], start.weights["conv0"])


@pytest.mark.slow
def test_a_saved_model_trains_on_after_loading(tmp_path):
    env = trained("keras")
    volumes, labels = env.x_train[:8], np.arange(8)
    env.keras_model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert same(values(named_variables(loaded)), env.get_weights())
    logs = [
        model.train_on_batch(volumes, labels, return_dict=True) for model in (env.model, loaded)
    ]
    assert logs[0] == logs[1]
    assert same(values(named_variables(loaded)), env.get_weights())
