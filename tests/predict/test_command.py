"""Pictures and volumes are classified with a run's checkpoint."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import picture_files
from tests.support.environments import environment_class, small_environment
from tests.support.processes import run_command
from wrn3d import Checkpoint, Dataset
from wrn3d.data.load import load_dataset
from wrn3d.data.resizing import resize_voxels
from wrn3d.predict import Classifier
from wrn3d.predict.__main__ import PredictConfig, predict
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


def untrained(path, *shape, **settings):
    """Save an untrained network for images or volumes (N, ...); return its environment."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    labels = np.arange(len(images)) % 2
    settings["data"] = Dataset.from_arrays(images, labels, 255 - images, labels)
    return save_untrained(path, **settings)


def save_untrained(path, **settings):
    """Save an untrained network for the data of the settings; return its environment."""
    env = environment_class("keras")(depth=10, widen_factor=1, batch_size=8, **settings)
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


def assert_close(probabilities, others):
    np.testing.assert_allclose(probabilities, others, rtol=1e-4, atol=1e-6)


def test_probabilities_are_those_of_the_run_within_rounding(trained):
    env, path = trained
    probabilities = Classifier(path)(env.dataset.test_volumes)
    assert_close(probabilities, np.exp(env.predict_split().log_probabilities))
    replace(env.snapshot(), average={}).save(path.parent / "last.safetensors")
    without_ema = Classifier(path.parent / "last.safetensors")(env.dataset.test_volumes)
    assert not np.array_equal(without_ema, probabilities)


def test_pictures_are_classified_as_a_table_and_as_json(trained, tmp_path, capsys):
    env, path = trained
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for volume, file in zip(env.dataset.test_volumes, files, strict=False):
        Image.fromarray(volume[0]).save(file)
    probabilities = Classifier(path)(env.dataset.test_volumes[:3])
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
    assert np.array_equal(resized, resize_voxels(large[None], 8)[0])
    both = np.stack([images[0], resized])
    assert_close(
        classifier(both), np.exp(log_probabilities(env.predict(env.dataset.normalise(both))))
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_picture_is_classified_as_it_looks_on_white(tmp_path, capsys, channels):
    path, files = tmp_path / "saved.safetensors", picture_files.files()
    untrained(path, 40, 8, 8, channels)
    classifier, probabilities = Classifier(path), {}
    for name, file in files.items():
        picture = tmp_path / f"{name}.{file.ending}"
        picture.write_bytes(file.content)
        if name == "12 bits in 16 png":
            with pytest.warns(UserWarning, match=f"^{picture} is nearly black, at most 15 of 255"):
                file.check(classifier.read(picture)[0])
            picture.unlink()
        else:
            file.check(classifier.read(picture)[0])
            volume = np.broadcast_to(file.shown[None, None, ..., None], (1, 1, 8, 8, channels))
            probabilities[str(picture)] = classifier(volume)[0], 0.05 if file.error else 1e-5
    refused = [tmp_path / f"{name}.{file[0]}" for name, file in picture_files.refused().items()]
    for picture, (_, content, _) in zip(refused, picture_files.refused().values(), strict=True):
        picture.write_bytes(content)
    assert predict(PredictConfig(path, (*refused, *map(Path, probabilities)), json=True)) == 1
    output, errors = capsys.readouterr()
    for line, name in zip(errors.splitlines(), refused, strict=True):
        assert line.startswith(f"error: {name} ")
    results = json.loads(output)
    assert [result["file"] for result in results] == list(probabilities)
    for result, (expected, error) in zip(results, probabilities.values(), strict=True):
        actual = [result["probabilities"][name] for name in classifier.class_names]
        assert np.allclose(actual, expected, rtol=0, atol=error)


def test_what_cannot_be_read_does_not_lose_the_rest(volumes, tmp_path):
    np.save(tmp_path / "good.npy", volumes[0].dataset.test_volumes[0])
    (tmp_path / "bad.npy").write_bytes(b"no array")
    files = [tmp_path / name for name in ("bad.npy", "good.npy", "missing.png", "good.npy")]
    process = run_command("-m", "wrn3d.predict", volumes[1], *files)
    assert process.returncode == 1
    table = process.stdout.splitlines()
    assert len(table) == 4 and all(str(tmp_path / "good.npy") in row for row in table[2:])
    messages = [
        "bad.npy cannot be read as a NumPy array",
        "missing.png does not exist",
    ]
    for line, message in zip(process.stderr.splitlines(), messages, strict=True):
        assert line.startswith("error: ") and message in line


@pytest.fixture
def scans(tmp_path):
    """Write the scans of ten test digits as pictures of 8x8; return the files."""
    from sklearn.datasets import load_digits

    files = [tmp_path / f"scan {number}.png" for number in range(10)]
    for file, scan in zip(files, load_digits().images[1500:], strict=False):
        Image.fromarray(np.round(scan * (255 / 16)).astype(np.uint8)).save(file)
    return files


@pytest.mark.parametrize("size", [None, 32, 16, 40])
def test_pictures_are_enlarged_as_the_digits_were(tmp_path, scans, size):
    path = tmp_path / "saved.safetensors"
    env = save_untrained(path, dataset="digits", volume_size=size)
    classifier = Classifier(path)
    volumes = np.stack([classifier.read(file) for file in scans])
    assert np.array_equal(volumes, env.dataset.test_volumes[:10])
    np.save(tmp_path / "scan.npy", np.asarray(Image.open(scans[0]).convert("RGB")))
    assert np.array_equal(classifier.read(tmp_path / "scan.npy"), volumes[0])
    Image.fromarray(volumes[3, 0]).save(tmp_path / "large.png")
    assert np.array_equal(classifier.read(tmp_path / "large.png"), volumes[3])


def test_what_is_unlike_the_training_data_is_named(tmp_path):
    volumes = np.random.default_rng(0).normal(40, 200, (20, 6, 8, 7, 1)).astype(np.int16)
    save_untrained(
        tmp_path / "ct.safetensors", data=Dataset.from_arrays(volumes, np.arange(20) % 2)
    )
    classifier = Classifier(tmp_path / "ct.safetensors")
    for name, voxels in {
        "mask": volumes[0] > 100,
        "scaled": volumes[0].astype(np.float32) / 1000,
        "other": volumes[0].astype(np.float32) * 100,
        "shifted": volumes[0] + 1100,
    }.items():
        np.save(tmp_path / f"{name}.npy", voxels.astype(np.int16) if name == "mask" else voxels)
        with pytest.warns(UserWarning, match=f"{name}.npy has numbers with mean .*, unlike the"):
            classifier.read(tmp_path / f"{name}.npy")
    np.save(tmp_path / "dark.npy", volumes[0] // 4)
    classifier.read(tmp_path / "dark.npy")


def test_pictures_are_resized_as_the_training_data_were(tmp_path, scans):
    path = tmp_path / "saved.safetensors"
    images = np.random.default_rng(1).integers(0, 256, (40, 12, 10, 3), np.uint8)
    data = Dataset.from_arrays(images, np.arange(40) % 2)
    Image.fromarray(images[0]).save(tmp_path / "0.png")
    for side in (24, 7):
        env = save_untrained(path, data=data, volume_size=side)
        picture = Classifier(path).read(tmp_path / "0.png")
        assert np.array_equal(picture, env.dataset.train_volumes[0])
    for number, file in enumerate(scans):
        folder = tmp_path / "train" / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        file.rename(folder / file.name)
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    pictures = load_dataset(str(tmp_path), volume_size=32)
    for settings in ({}, {"volume_size": 20}):  # bicubic, and then linear
        env = save_untrained(path, data=pictures, **settings)
        file = tmp_path / "test" / "class 0" / scans[0].name
        assert np.array_equal(Classifier(path).read(file), env.dataset.test_volumes[0])


def test_volumes_are_resized_as_the_training_data_were(tmp_path):
    path = tmp_path / "saved.safetensors"
    images = np.random.default_rng(1).integers(0, 256, (9, 10, 33, 47, 1), np.uint8)
    data = Dataset.from_arrays(images, np.arange(9) % 2).resized(23)
    env = save_untrained(path, data=data, volume_size=14)
    np.save(tmp_path / "0.npy", images[0])
    assert np.array_equal(Classifier(path).read(tmp_path / "0.npy"), env.dataset.train_volumes[0])


@pytest.mark.filterwarnings("ignore:.*wide.png has numbers with mean")
@pytest.mark.filterwarnings("ignore:.*large.png has numbers with mean")
def test_pictures_of_other_proportions_are_cropped_to_their_centre(tmp_path):
    path = tmp_path / "saved.safetensors"
    save_untrained(path, dataset="digits")
    pixels = np.zeros((8, 20), np.uint8)
    pixels[:, 6:14] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.repeat(10, 0).repeat(10, 1)).save(tmp_path / "large.png")
    for name in ("wide.png", "large.png"):
        assert (Classifier(path).read(tmp_path / name) == 200).all()


def test_checkpoints_that_do_not_say_how_to_resize_give_what_they_gave(tmp_path, scans):
    path = tmp_path / "saved.safetensors"
    save_untrained(path, dataset="digits")
    saved = Checkpoint.load(path)
    config = {name: value for name, value in saved.config.items() if name != "resizing"}
    replace(saved, config=config).save(path)
    with Image.open(scans[0]) as image:
        expected = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
        np.save(tmp_path / "scan.npy", np.asarray(image.convert("RGB")))
    classifier = Classifier(path)
    assert np.array_equal(classifier.read(scans[0])[0], expected)
    volume = np.load(tmp_path / "scan.npy")[None]
    assert np.array_equal(
        classifier.read(tmp_path / "scan.npy"), resize_voxels(volume[None], 32)[0]
    )


@pytest.mark.filterwarnings("ignore:.*red.jpg has numbers with mean")
def test_pictures_are_read_in_grey_for_one_channel(tmp_path):
    untrained(tmp_path / "saved.safetensors", 40, 12, 10)
    Image.new("RGB", (30, 36), (255, 0, 0)).save(tmp_path / "red.jpg")
    picture = Classifier(tmp_path / "saved.safetensors").read(tmp_path / "red.jpg")
    assert picture.shape == (1, 12, 10, 1) and np.abs(picture.astype(int) - 76).max() <= 1


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.png", None, r"a.png does not exist or is not a file: name a picture"),
        ("a.txt", b"text", r"is neither a picture \(.png, .*\) nor a volume \(.npy, .nii, "),
        ("a.npy", b"not a volume", "a.npy cannot be read as a NumPy array"),
        ("a.npy", np.zeros((4, 8, 8)), "holds float32, but the network was trained on uint8: s"),
        ("a.npy", np.full((4, 8, 8), np.nan), "the numbers in .*a.npy contain NaN"),
        ("a.npy", np.zeros((2, 4, 8, 8, 1), np.uint8), "it has the shape"),
        ("a.npy", np.zeros((8, 8, 8), np.uint8), "name a volume of the proportions 4x8x8x1"),
        ("a.nii", b"no scan", "a.nii cannot be read as a scan"),
        ("a.npy", np.zeros((1, 1, 400_000), np.uint8), "proportions"),
        ("a.npy", np.array(["x"], object), "Python objects in dtype"),
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
        f"error: {tmp_path / 'a.png'} is a picture of 8 bits, but the network takes volumes of "
        "4x8x8x1, uint8: use an array or a scan (.npy, .nii, .nii.gz, .nrrd, .mha, .dcm)\n",
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
        ({"config": {"resizing": [["cubic", [4, 8, 8]]]}}, "resizing is 'cubic', but must be near"),
        ({"config": {"resizing": [["bicubic", [4, 8, 8]]]}}, "its resizing is invalid"),
        ({"config": {"resizing": [["linear", [4, 8, 9]]]}}, "its resizing is invalid"),
        ({"config": {"resizing": [["linear", [999] * 3]]}}, "its resizing is invalid"),
        ({"config": {"resizing": [["linear", 8]]}}, "resizing is 8, but must be a list"),
        ({"config": {"resizing": [["linear"]]}}, "its resizing is invalid"),
        ({"config": {"resizing": 8}}, "resizing is 8, but must be a list"),
        ({"config": {"voxels": "int64"}}, "the type of its voxels is unknown"),
        ({"config": {"voxels": ["int16"]}}, "the type of its voxels is unknown"),
        ({"config": {"spacing": [1, 0, 1]}}, "its spacing is invalid"),
        ({"config": {"spacing": "1 mm"}}, "spacing is '1 mm', but must be a list"),
        ({"config": {"window": ["9", "1"]}}, "window is .*, but must be two numbers, the lower"),
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
        (("a.png",), {"top": 0}, "top is 0, but must be a whole number from 1 up"),
    ],
)
def test_a_mistake_ends_with_one_sentence(volumes, tmp_path, files, options, message):
    paths = tuple(tmp_path / name for name in files)
    with pytest.raises(UsageError, match=message):
        predict(PredictConfig(volumes[1], paths, **options))


def test_probabilities_are_written_as_a_table(tmp_path):
    untrained(tmp_path / "saved.safetensors", 40, 12, 10)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 12, 10), np.uint8)
    for row, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{row}.png")
    files = [tmp_path / f"{row}.png" for row in range(3)]
    arguments = ("-m", "wrn3d.predict", tmp_path / "saved.safetensors", *files)
    process = run_command(*arguments, "--csv", tmp_path / "all.csv", "--json")
    assert process.returncode == 0, process.stderr
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, found in zip(rows, json.loads(process.stdout), strict=True):
        assert (row["path"], row["predicted"]) == (found["file"], found["class"])
        for name, share in found["probabilities"].items():
            assert float(row[f"probability of {name}"]) == share
