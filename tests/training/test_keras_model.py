"""A run's network as a Keras model in other hands: saved, served, exported, trained on."""

import os

import numpy as np
import onnxruntime
import pytest

import wrn3d
from tests.support.environments import small_environment
from tests.support.processes import FROM_ANYWHERE, run_python
from wrn3d.network.variables import named_variables, values
from wrn3d.training.losses import BatchLoss, CrossEntropy

SMALL = {"volume_size": 16, "dataset": "digits", "batch_size": 8, "dropout": 0.2}


@pytest.fixture(
    scope="module", params=["tensorlayer", pytest.param("keras", marks=pytest.mark.slow)]
)
def stepped(request):
    """A run of either script that has trained one iteration."""
    env = small_environment(request.param, **SMALL)
    env.step()
    return env


@pytest.fixture
def volumes(stepped):
    return stepped.dataset.normalise(stepped.dataset.test_volumes[:5])


# Another process: first without this package, then by either of Keras's names.
PROGRAM = """
import numpy, sys, tensorflow
volumes = numpy.load("volumes.npy")
served = tensorflow.saved_model.load("served")
numpy.save("served.npy", served.serve(volumes))
assert "wrn3d" not in sys.modules
import wrn3d, keras
for name, library in (("keras", keras), ("tf.keras", tensorflow.keras)):
    numpy.save(f"{name}.npy", library.models.load_model("model.keras").predict_on_batch(volumes))
"""


def test_saved_and_exported_models_open_in_another_process(tmp_path, stepped, volumes):
    stepped.keras_model.save(tmp_path / "model.keras")
    stepped.keras_model.export(tmp_path / "served", verbose=False)
    np.save(tmp_path / "volumes.npy", volumes)
    # With the variables of this process: oneDNN as here, for the same bits.
    process = run_python("-c", PROGRAM, cwd=tmp_path, env=os.environ | FROM_ANYWHERE)
    assert process.returncode == 0, process.stderr
    logits = stepped.predict(volumes)
    for name in ("keras", "tf.keras"):
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), logits)
    np.testing.assert_allclose(np.load(tmp_path / "served.npy"), logits, rtol=1e-5, atol=1e-5)


def test_an_onnx_file_gives_the_same_logits(tmp_path, stepped, volumes):
    path = tmp_path / "model.onnx"
    stepped.keras_model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    (logits,) = session.run(None, {session.get_inputs()[0].name: volumes})
    np.testing.assert_allclose(logits, stepped.predict(volumes), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_run_that_has_not_stepped_can_be_exported_to_onnx(tmp_path, front_end):
    env = small_environment(front_end, **SMALL)
    env.keras_model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    assert (tmp_path / "model.onnx").stat().st_size > 100_000


def test_the_keras_model_of_a_run_trains_on_as_the_run_does(stepped):
    volumes, labels = stepped.dataset.normalise(stepped.dataset.train_volumes[:8]), np.arange(8)
    start = stepped.snapshot()
    model = stepped.keras_model
    model.compile(wrn3d.SGD(0.01), loss=CrossEntropy(), metrics=[BatchLoss()])
    losses = [
        model.train_on_batch(volumes, labels, return_dict=True)["batch_loss"] for _ in range(3)
    ]
    arrays = values(named_variables(model))

    stepped.build()  # the model of the Keras script was compiled with another optimizer
    stepped.optimizer.build(stepped.model.trainable_weights)
    stepped.restore(start)
    assert [stepped.train_batch(volumes, labels, 0.01)[0] for _ in range(3)] == losses
    weights = stepped.get_weights()
    assert weights.keys() == arrays.keys()
    assert all(np.array_equal(weights[name], arrays[name]) for name in weights)
    assert not np.array_equal(weights["conv0"], start.weights["conv0"])
    stepped.restore(start)
