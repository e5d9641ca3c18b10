"""Pictures and volumes are classified with a run's checkpoint."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.support.environments import environment_class, small_environment
from tests.support.processes import run_command
from wrn3d import Checkpoint, Dataset
from wrn3d.data.resizing import resize_bytes
from wrn3d.predict import Classifier, PredictConfig, predict
from wrn3d.system.errors import DataError, MissingDataError, UsageError
from wrn3d.training.evaluation import log_probabilities


@pytest.fixture(scope="module")
def trained(front_end, tmp_path_factory):
    """Return an environment with an EMA after some iterations, and its checkpoint."""
    settings = {"volume_size": 8, "momentum": 0.9, "learning_rate": 0.1, "averaging": 0.8}
    env = small_environment(front_end, dataset="digits", **settings)
    for _ in range(10):
        env.step()
    path = tmp_path_factory.mktemp("trained") / "saved.safetensors"
    env.save(path)
    return env, path


def untrained(path, *shape):
    """Save an untrained network for images or volumes (N, ...); return its environment."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    labels = np.arange(len(images)) % 2
    data = Dataset.from_arrays(images, labels, images, labels)
    env = environment_class("keras")(data=data, depth=10, widen_factor=1, batch_size=8)
    env.save(path)
    return env


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Return the environment and the checkpoint of a network for volumes of 4x8x8x1."""
    path = tmp_path_factory.mktemp("volumes") / "saved.safetensors"
    return untrained(path, 40, 4, 8, 8, 1), path


@pytest.fixture(scope="module")
def classifier(volumes):
    return Classifier(volumes[1])


def expected(env, volumes):
    return np.exp(log_probabilities(env.predict(env.dataset.normalise(volumes))))


def test_probabilities_are_those_of_the_run_to_the_last_bit(trained):
    env, path = trained
    probabilities = Classifier(path)(env.dataset.test_volumes)
    assert np.array_equal(probabilities, np.exp(env.predict_split().log_probabilities))
    assert (probabilities.argmax(axis=1) == env.y_test).mean() == env.evaluate().accuracy
    replace(env.snapshot(), average={}).save(path.parent / "last.safetensors")
    without_ema = Classifier(path.parent / "last.safetensors")(env.dataset.test_volumes)
    assert not np.array_equal(without_ema, probabilities)


def test_pictures_are_classified_as_a_table_and_as_json(trained, tmp_path, capsys):
    env, path = trained
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for volume, file in zip(env.dataset.test_volumes, files, strict=False):
        Image.fromarray(volume[0]).save(file)
    probabilities = expected(env, env.dataset.test_volumes[:3])
    process = run_command("-m", "wrn3d.predict", path, *files, "--top", "2")
    assert (process.returncode, process.stderr) == (0, "")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in process.stdout.splitlines()
    ]
    assert rows[0] == ["file", "most probable", "then"]
    for file, row, shares in zip(files, rows[2:], probabilities, strict=True):
        best, second = np.argsort(-shares)[:2]
        assert row == [str(file), f"{best} {shares[best]:.2%}", f"{second} {shares[second]:.2%}"]
    predict(PredictConfig(path, tuple(files), json=True))
    results = json.loads(capsys.readouterr().out)
    for file, result, shares in zip(files, results, probabilities, strict=True):
        assert (result["file"], result["class"]) == (str(file), str(shares.argmax()))
        assert result["probabilities"] == {str(label): share for label, share in enumerate(shares)}
        assert list(result["probabilities"].values()) == sorted(shares, reverse=True)


def test_volumes_are_classified(volumes, classifier, tmp_path):
    env, _ = volumes
    images = env.dataset.test_volumes
    for volume in (images[0], images[0][..., 0]):
        np.save(tmp_path / "volume.npy", volume)
        assert np.array_equal(classifier.read(tmp_path / "volume.npy"), images[0])
    large = images[1].repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.save(tmp_path / "large.npy", large)
    resized = classifier.read(tmp_path / "large.npy")
    assert np.array_equal(resized, resize_bytes(large[None], 8)[0])
    both = np.stack([images[0], resized])
    assert np.array_equal(classifier(both), expected(env, both))


def test_pictures_are_read_in_grey_for_one_channel(tmp_path):
    untrained(tmp_path / "saved.safetensors", 40, 12, 10)
    Image.new("RGB", (30, 36), (255, 0, 0)).save(tmp_path / "red.jpg")
    picture = Classifier(tmp_path / "saved.safetensors").read(tmp_path / "red.jpg")
    assert picture.shape == (1, 12, 10, 1) and np.abs(picture.astype(int) - 76).max() <= 1


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.png", None, r"a.png does not exist or is not a file: name a picture"),
        ("a.txt", b"text", r"is neither a picture \(.png, .jpg, .jpeg\) nor a volume \(.npy\)"),
        ("a.npy", b"not a volume", "a.npy does not fit the network"),
        ("a.npy", np.zeros((4, 8, 8)), "it is float64 of the shape"),
        ("a.npy", np.zeros((2, 4, 8, 8, 1), np.uint8), "it has the shape"),
        ("a.npy", np.zeros((8, 8, 8), np.uint8), "other proportions"),
        ("a.npy", np.zeros((1, 1, 400_000), np.uint8), "proportions"),
        ("a.npy", np.array(["x"], object), "holds Python objects instead"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(classifier, tmp_path, name, content, message):
    if isinstance(content, np.ndarray):
        np.save(tmp_path / name, content)
    elif content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((DataError, MissingDataError), match=message):
        classifier.read(tmp_path / name)


def test_a_picture_is_not_a_volume(volumes, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    process = run_command("-m", "wrn3d.predict", volumes[1], tmp_path / "a.png")
    assert (process.returncode, process.stderr) == (
        1,
        f"error: {tmp_path / 'a.png'} is a picture, but the network takes volumes of 4x8x8x1: "
        "name a .npy file\n",
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"normalisation": {}}, r"does not record its mean, as converted weights"),
        ({"config": {}}, r"does not record its depth"),
        ({"config": {"depth": 16}}, "belong to another network"),
        ({"config": {"depth": 10_000, "widen_factor": 10_000}}, "belong to another network"),
        ({"config": {"depth": "x"}}, "cannot be used to classify .depth is 'x'"),
        ({"config": {"classes": 7}}, "cannot be used to classify"),
        ({"config": {"classes": ["a"]}}, "num_classes is 1"),
        ({"config": {"classes": ["a", "a"]}}, "its class names are invalid"),
        ({"config": {"precision": "int4"}}, "precision is 'int4'"),
        ({"normalisation": {"mean": np.zeros(3, np.float32)}}, "its mean image is invalid"),
        (
            {"normalisation": {"mean": np.zeros((7, 4, 8, 8, 1), np.float32)}},
            "its mean image is invalid",
        ),
        (
            {"normalisation": {"std": np.zeros(1, np.float32)}},
            "its standard deviation is invalid",
        ),
        ({"normalisation": {"std": np.full(1, np.inf, np.float32)}}, "NaN or infinite numbers"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(volumes, tmp_path, change, message):
    saved = Checkpoint.load(volumes[1])
    changed = {
        name: getattr(saved, name) | value if value else value for name, value in change.items()
    }
    replace(saved, **changed).save(tmp_path / "changed.safetensors")
    with pytest.raises(DataError, match=message):
        Classifier(tmp_path / "changed.safetensors")


@pytest.mark.parametrize(
    "files, options, message",
    [
        ((), {}, "name pictures or volumes after the checkpoint"),
        (("folder",), {}, "folder is a folder: name files in it"),
        (("a.png",), {"top": 0}, "top is 0, but must be a whole number from 1 up"),
    ],
)
def test_a_mistake_ends_with_one_sentence(volumes, tmp_path, files, options, message):
    (tmp_path / "folder").mkdir()
    paths = tuple(tmp_path / name for name in files)
    with pytest.raises(UsageError, match=message):
        predict(PredictConfig(volumes[1], paths, **options))
