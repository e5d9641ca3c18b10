"""Pictures and volumes classified with a run's checkpoint."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.support.environments import small_environment
from tests.support.processes import run_command, run_python
from tests.support.runs import train
from wrn3d import Checkpoint
from wrn3d.data.resizing import resize_bytes
from wrn3d.predict import Classifier
from wrn3d.system.errors import DataError, MissingDataError
from wrn3d.training.evaluation import log_probabilities


@pytest.fixture(scope="module")
def trained(front_end, tmp_path_factory):
    """An environment after some iterations, with averaged weights, and its checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    env = small_environment(front_end, momentum=0.9, learning_rate=0.1, averaging=0.8)
    train(env, folder / "digits", 30)
    return env, folder / "digits" / "checkpoint-00000030.safetensors"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """The checkpoint of a network of volumes of 4x8x8x1, of which nothing was trained."""
    folder = tmp_path_factory.mktemp("volumes")
    draw = np.random.default_rng(0)
    arrays = {
        f"{split}_{kind}": value
        for split in ("train", "val", "test")
        for kind, value in (
            ("images", draw.integers(0, 256, (40, 4, 8, 8), np.uint8)),
            ("labels", np.arange(40) % 2),
        )
    }
    np.savez(folder / "volumes.npz", **arrays)
    env = small_environment("keras", dataset=str(folder / "volumes.npz"))
    env.save(folder / "saved.safetensors")
    return env, folder / "saved.safetensors", arrays["test_images"]


def expected(env, volumes):
    return np.exp(log_probabilities(env.predict(env.dataset.normalise(volumes))))


def test_probabilities_are_those_of_the_run_to_the_last_bit(trained):
    env, path = trained
    found = Classifier(path)(env.dataset.test_volumes)
    assert np.array_equal(found, np.exp(env.predict_split().log_probabilities))
    assert (found.argmax(axis=1) == env.y_test).mean() == env.evaluate().accuracy
    with_last_weights = replace(env.snapshot(), average={})
    with_last_weights.save(path.parent / "last.safetensors")
    assert not np.array_equal(
        Classifier(path.parent / "last.safetensors")(env.dataset.test_volumes), found
    )


def test_pictures_are_classified_as_a_table_and_as_json(trained, tmp_path):
    env, path = trained
    for number in range(3):
        Image.fromarray(env.dataset.test_volumes[number, 0]).save(tmp_path / f"{number}.png")
    names = [str(tmp_path / f"{number}.png") for number in range(3)]
    probabilities = expected(env, env.dataset.test_volumes[:3])
    process = run_command("-m", "wrn3d.predict", path, *names, "--top", "2")
    assert (process.returncode, process.stderr) == (0, "")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in process.stdout.splitlines()
    ]
    assert rows[0] == ["file", "most probable", "then"]
    for name, row, shares in zip(names, rows[2:], probabilities, strict=True):
        best, second = np.argsort(-shares)[:2]
        assert row == [name, f"{best} {shares[best]:.2%}", f"{second} {shares[second]:.2%}"]
    process = run_command("-m", "wrn3d.predict", path, *names, "--json")
    for name, found, shares in zip(names, json.loads(process.stdout), probabilities, strict=True):
        assert (found["file"], found["class"]) == (name, str(shares.argmax()))
        assert found["probabilities"] == {str(label): share for label, share in enumerate(shares)}
        assert list(found["probabilities"].values()) == sorted(shares, reverse=True)


def test_volumes_are_classified(volumes, tmp_path):
    env, path, images = volumes
    classifier = Classifier(path)
    for number, volume in enumerate((images[0], images[0][..., None])):
        np.save(tmp_path / f"{number}.npy", volume)
        assert np.array_equal(classifier.read(tmp_path / f"{number}.npy"), images[0][..., None])
    large = np.repeat(np.repeat(np.repeat(images[1], 2, 0), 2, 1), 2, 2)[..., None]
    np.save(tmp_path / "large.npy", large)
    resized = classifier.read(tmp_path / "large.npy")
    assert np.array_equal(resized, resize_bytes(large[None], 8)[0])
    found = classifier(np.stack([images[0][..., None], resized]))
    assert np.array_equal(found, expected(env, np.stack([images[0][..., None], resized])))


def test_one_channel_pictures_are_read_in_grey(tmp_path):
    np.savez(
        tmp_path / "grey.npz",
        **{
            f"{split}_{kind}": value
            for split in ("train", "val", "test")
            for kind, value in (
                ("images", np.random.default_rng(0).integers(0, 256, (40, 12, 10), np.uint8)),
                ("labels", np.arange(40) % 2),
            )
        },
    )
    env = small_environment("keras", dataset=str(tmp_path / "grey.npz"))
    env.save(tmp_path / "saved.safetensors")
    Image.new("RGB", (30, 36), (255, 0, 0)).save(tmp_path / "red.jpg")
    found = Classifier(tmp_path / "saved.safetensors").read(tmp_path / "red.jpg")
    assert found.shape == (1, 12, 10, 1) and np.abs(found.astype(int) - 76).max() <= 1


def npy(path, array):
    np.save(path, array)
    return path


def text(path, content):
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "make, said",
    [
        (
            lambda folder: folder / "none.png",
            r"none.png does not exist or is not a file: name a picture",
        ),
        (lambda folder: text(folder / "a.npy", "no volume"), "a.npy does not fit the network"),
        (
            lambda folder: text(folder / "a.txt", "a text"),
            r"a.txt is no picture \(.png, .jpg, .jpeg\) "
            r"and no volume \(.npy\)",
        ),
        (lambda folder: npy(folder / "a.npy", np.zeros((4, 8, 8))), "it is float64 of the shape"),
        (
            lambda folder: npy(folder / "a.npy", np.zeros((2, 4, 8, 8, 1), np.uint8)),
            "it has the shape",
        ),
        (lambda folder: npy(folder / "a.npy", np.zeros((8, 8, 8), np.uint8)), "other proportions"),
        (lambda folder: npy(folder / "a.npy", np.zeros((1, 1, 400_000), np.uint8)), "proportions"),
        (lambda folder: npy(folder / "a.npy", np.array(["x"], object)), "does not hold the data"),
    ],
)
def test_what_cannot_be_classified_is_named(volumes, tmp_path, make, said):
    classifier = Classifier(volumes[1])
    with pytest.raises((DataError, MissingDataError), match=said):
        classifier.read(make(tmp_path))


def test_a_picture_is_no_volume(volumes, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    process = run_command("-m", "wrn3d.predict", volumes[1], tmp_path / "a.png")
    assert (process.returncode, process.stderr) == (
        1,
        f"error: {tmp_path / 'a.png'} is a picture, but the network takes volumes of 4x8x8x1: "
        "name a .npy file\n",
    )


@pytest.mark.parametrize(
    "change, said",
    [
        ({"normalisation": {}}, r"does not say what its mean is \(converted weights do not, nor"),
        ({"config": {}}, r"does not say what its depth is"),
        ({"config": {"depth": 16}}, "belong to another network"),
        ({"config": {"depth": 10_000, "widen_factor": 10_000}}, "belong to another network"),
        ({"config": {"depth": "x"}}, "is no checkpoint to classify with .depth is 'x'"),
        ({"config": {"classes": 7}}, "is no checkpoint to classify with"),
        ({"config": {"classes": ["a"]}}, "num_classes is 1"),
        ({"config": {"precision": "int4"}}, "precision is 'int4'"),
        (
            {"normalisation": {"mean": np.zeros(3, np.float32), "std": np.ones(1, np.float32)}},
            "is no checkpoint to classify with",
        ),
        ({"normalisation": {"std": np.zeros(1, np.float32)}}, "its data can't be"),
        ({"normalisation": {"mean": np.zeros((7, 4, 8, 8, 1), np.float32)}}, "its data can't be"),
        ({"normalisation": {"std": np.full(1, np.inf, np.float32)}}, "are finite numbers"),
        ({"config": {"classes": ["a", "a"]}}, "its classes can't be"),
    ],
)
def test_checkpoints_that_do_not_serve_are_refused(volumes, tmp_path, change, said):
    saved = Checkpoint.load(volumes[1])
    changed = {
        name: getattr(saved, name) | value if value else value for name, value in change.items()
    }
    replace(saved, **changed).save(tmp_path / "changed.safetensors")
    with pytest.raises(DataError, match=said):
        Classifier(tmp_path / "changed.safetensors")


def test_a_command_without_files_says_so(volumes, tmp_path):
    process = run_command("-m", "wrn3d.predict", volumes[1])
    assert process.returncode == 2 and re.search("name pictures or volumes", process.stderr)
    process = run_command("-m", "wrn3d.predict", tmp_path, "a.png")
    assert (process.returncode, process.stderr) == (
        2,
        f"error: {tmp_path} is a folder: name files in it\n",
    )
    shutil.copy(volumes[1], tmp_path / "x.safetensors")
    process = run_command("-m", "wrn3d.predict", tmp_path / "x.safetensors", "a.png", "--top", "0")
    assert (process.returncode, process.stderr) == (
        2,
        "error: top is 0, but must be a whole number from 1 up\n",
    )


def test_help_is_instant(tmp_path):
    program = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "import wrn3d.predict as p\n"
        "try: p.main()\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    process = run_python("-c", program)
    assert process.stdout.endswith("False\n") and "checkpoint" in process.stdout.lower()
