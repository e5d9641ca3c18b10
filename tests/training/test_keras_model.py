"""A run's network as a Keras model for other programs: saved, served, exported, trained."""

import numpy as np
import onnxruntime
import pytest

import wrn3d
from tests.support.environments import small_environment
from tests.support.processes import run_python
from tests.training.states import same, tensorlayer_slow
from wrn3d.network.variables import named_variables, values
from wrn3d.training.losses import BatchLoss, CrossEntropy

IMPORTS = {
    "tensorlayer": "import wrn3d, tensorflow; keras = tensorflow.keras",
    "keras": "import keras, wrn3d",
}


def trained(front_end, steps=1):
    """Return a run of either script, with dropout, after some iterations."""
    env = small_environment(front_end, batch_size=8, dropout=0.2)
    for _ in range(steps):
        env.step()
    return env


@pytest.mark.slow
def test_a_saved_keras_model_opens_in_another_process(tmp_path, front_end):
    env = trained(front_end)
    volumes = env.x_test[:5]
    env.keras_model.save(tmp_path / "model.keras")
    np.save(tmp_path / "volumes.npy", volumes)
    program = f"""
{IMPORTS[front_end]}
import numpy
model = keras.models.load_model({str(tmp_path / "model.keras")!r})
numpy.save({str(tmp_path / "logits.npy")!r},
           model.predict_on_batch(numpy.load({str(tmp_path / "volumes.npy")!r})))"""
    process = run_python("-c", program)
    assert process.returncode == 0, process.stderr
    assert np.array_equal(np.load(tmp_path / "logits.npy"), env.predict(volumes))


@pytest.mark.slow
def test_an_exported_model_serves_without_this_package(tmp_path, front_end):
    env = trained(front_end)
    volumes = env.x_test[:5]
    env.keras_model.export(tmp_path / "served", verbose=False)
    np.save(tmp_path / "volumes.npy", volumes)
    program = """
import numpy, sys, tensorflow
served = tensorflow.saved_model.load("served")
numpy.save("logits.npy", served.serve(numpy.load("volumes.npy")))
assert "wrn3d" not in sys.modules"""
    process = run_python("-c", program, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), env.predict(volumes), rtol=1e-5, atol=1e-5
    )  # without oneDNN, where TensorFlow leaves it off


@tensorlayer_slow
@pytest.mark.parametrize("steps", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_onnx_file_gives_the_same_logits(tmp_path, front_end, steps):
    env = trained(front_end, steps)
    volumes, path = env.x_test[:5], tmp_path / "model.onnx"
    env.keras_model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    [logits] = session.run(None, {session.get_inputs()[0].name: volumes})
    np.testing.assert_allclose(logits, env.predict(volumes), rtol=1e-5, atol=1e-5)


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
