"""Models with the weights of a file, or of a trained network by its name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import wrn3d
from tests.support.environments import small_environment
from tests.support.runs import rounded
from wrn3d import Checkpoint, WideResNetSpec
from wrn3d.network.variables import named_variables, values
from wrn3d.predict import Classifier
from wrn3d.predict.__main__ import PredictConfig, predict
from wrn3d.system.errors import DataError, MissingDataError, UsageError
from wrn3d.training import shipped
from wrn3d.training.checkpoint import slim
from wrn3d.training.config import CLASSES, NETWORK_FIELDS

BUILDERS = {"keras": wrn3d.keras_model, "tensorlayer": wrn3d.tensorlayer_model}
KEPT = (*NETWORK_FIELDS, "precision", CLASSES)


@pytest.fixture(scope="module")
def env():
    """Return an environment with an EMA of its weights, after some iterations."""
    env = small_environment("keras", shortcut="projection", averaging=0.8, learning_rate=0.1)
    for _ in range(5):
        env.step()
    return env


@pytest.fixture
def named(env, tmp_path, monkeypatch):
    """Ship the environment's network as "small", and return the file's path."""
    state = env.snapshot()
    path = tmp_path / "weights" / "small.safetensors"
    path.parent.mkdir()
    slim(state, {name: state.config[name] for name in KEPT}).save(path)
    monkeypatch.setattr(shipped, "FOLDERS", (tmp_path / "nowhere", path.parent))
    monkeypatch.chdir(tmp_path)
    return path


def test_a_shipped_file_has_the_ema_with_rounded_kernels(env, named):
    loaded = Checkpoint.load("small")
    expected = rounded(env.snapshot().average)
    assert loaded.weights.keys() == expected.keys() and not loaded.average
    for name, array in expected.items():
        assert array.dtype == loaded.weights[name].dtype == np.float32
        assert np.array_equal(array, loaded.weights[name]), name
    # 2 bytes a number of the kernels, a third of them, beside batch norm's.
    assert named.stat().st_size < 0.2 * sum(array.nbytes for array in expected.values())


@pytest.mark.parametrize("build", BUILDERS)
def test_models_have_the_weights_of_a_name_or_a_file(env, named, build):
    expected = rounded(env.snapshot().average)
    for weights in ("small", named):
        found = values(named_variables(BUILDERS[build](weights=weights)))
        assert all(np.array_equal(found[name], array) for name, array in expected.items())
    other = replace(env.spec, dropout=0.5)
    model = BUILDERS[build](other, weights="small")
    assert model.spec == other


def test_a_classifier_and_an_environment_know_the_name(env, named):
    classifier = Classifier("small")
    volumes = env.dataset.test_volumes[:20]
    env_of_file = small_environment("tensorlayer", shortcut="projection")
    env_of_file.load("small")
    x = classifier.normalise(volumes)
    np.testing.assert_allclose(classifier.model(x), env_of_file.predict(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(x, env.dataset.normalise(volumes), atol=2e-3)
    exact = np.exp(env.predict_split().log_probabilities[:20])
    np.testing.assert_allclose(classifier(volumes), exact, atol=0.01)


def test_a_mean_of_volumes_is_no_kernel(tmp_path):
    mean = np.random.default_rng(0).random((1, 8, 8, 8, 1), np.float32)
    kernel = np.ones((3, 3, 3, 1, 2), np.float32)
    state = Checkpoint({"conv0": kernel}, normalisation={"mean": mean, "std": mean.std(None)[None]})
    slim(state, {}).save(tmp_path / "x.safetensors")
    loaded = Checkpoint.load(tmp_path / "x.safetensors")
    assert np.array_equal(loaded.weights["conv0"], kernel)
    np.testing.assert_allclose(loaded.normalisation["mean"], mean, rtol=1e-3)
    assert loaded.normalisation["mean"].shape == mean.shape


def test_a_file_goes_before_a_name(env, named):
    env.save(named.parent.parent / "small")
    assert Checkpoint.load("small").iteration == 5
    with pytest.raises(MissingDataError, match="has saved one, or a trained network: small$"):
        Checkpoint.load("large")
    for path in ("./no/small", "x" * 300):
        with pytest.raises(MissingDataError):
            Checkpoint.load(path)


def test_a_folder_does_not_hide_a_name(named):
    (named.parent.parent / "small").mkdir()
    assert Checkpoint.load("small").weights
    assert predict(PredictConfig(Path("small"), (named.parent / "no.png",))) == 1


def test_what_a_model_cannot_be_made_of_is_named(env, named):
    with pytest.raises(UsageError, match="^a model needs a spec, such as .*, or weights$"):
        wrn3d.keras_model()
    with pytest.raises(DataError, match="^small: weights for WRN-16-1"):
        wrn3d.keras_model(WideResNetSpec(16, 1), weights="small")
    slim(env.snapshot(), {}).save(named)
    with pytest.raises(DataError, match="^small does not record its depth, as converted weights"):
        wrn3d.keras_model(weights="small")
    assert wrn3d.keras_model(env.spec, weights="small")
