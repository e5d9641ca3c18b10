"""A run's network as a Keras model in other hands: saved, served, exported, trained on."""

import numpy as np
import onnxruntime
import pytest

import wrn3d
from tests.support.environments import environment_class
from tests.support.processes import run_python
from wrn3d.network.variables import named_variables, values
from wrn3d.training.losses import BatchLoss, CrossEntropy


@pytest.fixture(scope="module")
def stepped(front_end):
    """A run of either script that has trained one iteration, with dropout."""
    env = environment_class(front_end)(
        dataset="digits", depth=10, widen_factor=1, batch_size=8, dropout=0.2
    )
    env.step()
    return env


def test_a_saved_keras_model_opens_in_another_process(tmp_path, stepped, front_end):
    """By either of Keras's names."""
    imports = {
        "tensorlayer": "import wrn3d, tensorflow; keras = tensorflow.keras",
        "keras": "import keras, wrn3d",
    }[front_end]
    volumes = stepped.dataset.normalise(stepped.dataset.test_volumes[:5])
    stepped.keras_model.save(tmp_path / "model.keras")
    np.save(tmp_path / "volumes.npy", volumes)
    process = run_python(
        "-c",
        f"""
{imports}
import numpy
model = keras.models.load_model({str(tmp_path / "model.keras")!r})
numpy.save({str(tmp_path / "logits.npy")!r},
           model.predict_on_batch(numpy.load({str(tmp_path / "volumes.npy")!r})))""",
    )
    assert process.returncode == 0, process.stderr
    assert np.array_equal(np.load(tmp_path / "logits.npy"), stepped.predict(volumes))


def test_an_exported_model_serves_without_this_package(tmp_path, stepped):
    volumes = stepped.dataset.normalise(stepped.dataset.test_volumes[:5])
    stepped.keras_model.export(tmp_path / "served", verbose=False)
    np.save(tmp_path / "volumes.npy", volumes)
    process = run_python(
        "-c",
        """
import numpy, sys, tensorflow
served = tensorflow.saved_model.load("served")
numpy.save("logits.npy", served.serve(numpy.load("volumes.npy")))
assert "wrn3d" not in sys.modules""",
        cwd=tmp_path,
    )
    assert process.returncode == 0, process.stderr
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), stepped.predict(volumes), rtol=1e-5, atol=1e-5
    )  # without oneDNN, where it is off


def test_an_onnx_file_gives_the_same_logits(tmp_path, stepped):
    volumes = stepped.dataset.normalise(stepped.dataset.test_volumes[:5])
    path = tmp_path / "model.onnx"
    stepped.keras_model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    (logits,) = session.run(None, {session.get_inputs()[0].name: volumes})
    np.testing.assert_allclose(logits, stepped.predict(volumes), rtol=1e-5, atol=1e-5)


def test_an_onnx_file_can_be_made_of_a_run_that_has_not_stepped(tmp_path, front_end):
    env = environment_class(front_end)(dataset="digits", depth=10, widen_factor=1, batch_size=8)
    env.keras_model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    assert (tmp_path / "model.onnx").stat().st_size > 100_000


def test_a_runs_keras_model_trains_on_as_the_run_does(stepped):
    volumes, labels = stepped.dataset.normalise(stepped.dataset.train_volumes[:8]), np.arange(8)
    start = stepped.snapshot()
    model = stepped.keras_model
    model.compile(wrn3d.SGD(0.01), loss=CrossEntropy(), metrics=[BatchLoss()])
    losses = [
        model.train_on_batch(volumes, labels, return_dict=True)["batch_loss"] for _ in range(3)
    ]
    arrays = values(named_variables(model))

    stepped.build()  # a Keras script's model was compiled anew
    stepped.optimizer.build(stepped.model.trainable_weights)
    stepped.restore(start)
    assert [stepped.train_batch(volumes, labels, 0.01)[0] for _ in range(3)] == losses
    weights = stepped.get_weights()
    assert weights.keys() == arrays.keys()
    assert all(np.array_equal(weights[name], arrays[name]) for name in weights)
    assert not np.array_equal(weights["conv0"], start.weights["conv0"])
    stepped.restore(start)
