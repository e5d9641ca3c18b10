"""Data sets that are folders of pictures."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.support.processes import run_script
from tests.support.runs import SMALL
from wrn3d import load_dataset
from wrn3d.system.errors import DataError, UserError


@pytest.fixture
def pictures(tmp_path, digits):
    """Write 60 training digits, about half of them as JPEG, and 30 test digits."""
    for split, volumes, labels in (
        ("train", digits.train_volumes[:60], digits.train_labels),
        ("test", digits.test_volumes[:30], digits.test_labels),
    ):
        for number, (volume, label) in enumerate(zip(volumes, labels, strict=False)):
            ending = "png" if number > 30 or split == "test" else "jpg"
            path = tmp_path / split / f"digit {label}" / f"{number:03}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(volume[0]).save(path)
    return tmp_path


def test_pictures_are_read_in_the_order_of_their_names(pictures, digits):
    dataset = load_dataset(str(pictures))
    order = np.argsort(digits.test_labels[:30], kind="stable")
    assert dataset.class_names == tuple(f"digit {number}" for number in range(10))
    assert np.array_equal(dataset.test_labels, digits.test_labels[:30][order])
    assert np.array_equal(dataset.test_volumes, digits.test_volumes[:30][order])
    assert dataset.train_volumes.shape == (60, 1, 32, 32, 3)
    assert not len(dataset.validation_labels)


def test_a_validation_split_is_taken_from_all_classes(pictures):
    whole = load_dataset(str(pictures))
    parts = whole.with_validation(30)
    assert len(set(parts.validation_labels)) > 5 < len(set(parts.train_labels))
    assert np.bincount(whole.train_labels).tolist() == [
        len(list((pictures / "train" / name).iterdir())) for name in whole.class_names
    ]
    (pictures / "train" / ".hidden").mkdir()
    assert load_dataset(str(pictures)).fingerprint == whole.fingerprint


def test_a_turned_picture_is_turned_back(pictures):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    for file in [*pictures.glob("t*/*/*.png"), *pictures.glob("t*/*/*.jpg")]:
        file.unlink()
    for split in ("train", "test"):
        for label in range(10):
            (pictures / split / f"digit {label}").mkdir(exist_ok=True)
            image = Image.new("RGB", (8, 6), (0, 0, 9 * label))
            image.save(pictures / split / f"digit {label}" / "1.png", exif=exif)
    assert load_dataset(str(pictures)).volume_shape == (1, 8, 6, 3)


def test_a_known_name_comes_before_a_folder_of_that_name(pictures, monkeypatch):
    pictures.rename(pictures.with_name("digits"))
    monkeypatch.chdir(pictures.parent)
    assert load_dataset("digits").origin != "digits"


def test_sizes_and_kinds_of_pictures_become_one(pictures):
    Image.new("L", (70, 41), 200).save(pictures / "train" / "digit 3" / "grey.png")
    Image.new("RGBA", (9, 50), (255, 0, 0, 255)).save(pictures / "train" / "digit 3" / "red.PNG")
    (pictures / "train" / "digit 3" / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match="pictures differ in size .*: choose one side for all"):
        load_dataset(str(pictures))
    dataset = load_dataset(str(pictures), volume_size=20)
    assert dataset.volume_shape == (1, 20, 20, 3)
    threes = dataset.train_volumes[dataset.train_labels == 3]
    for colour in (200, (255, 0, 0)):
        assert (threes == colour).all(axis=(1, 2, 3, 4)).sum() == 1


def test_a_validation_folder_is_the_validation_split(pictures):
    shutil.copytree(pictures / "test", pictures / "val")
    dataset = load_dataset(str(pictures))
    assert np.array_equal(dataset.validation_volumes, dataset.test_volumes)


@pytest.mark.slow
def test_the_script_trains_on_pictures(pictures):
    process = run_script(
        "keras", *SMALL, "--dataset", pictures, "--volume-size", "16", "--evaluate"
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert (
        f"{pictures.name} from {pictures}: 60 training and 30 test volumes of 1x16x16x3 (D, H"
        in process.stdout
    )


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            lambda path: (path / "train" / "digit 1" / "x.png").write_bytes(b"no picture"),
            "x.png cannot be read as a picture",
        ),
        (
            lambda path: (path / "test" / "other").mkdir(),
            "test has a class 'other' that train/ lacks",
        ),
        (lambda path: shutil.rmtree(path / "test"), "cannot be read \\(no such file"),
        (
            lambda path: [shutil.rmtree(path / "train" / f"digit {n}") for n in range(10)],
            "train holds no pictures",
        ),
        (
            lambda path: (path / "train" / "empty").mkdir(),
            "empty holds no pictures: add some",
        ),
        (
            lambda path: [
                shutil.rmtree(path / split / f"digit {n}")
                for n in range(1, 10)
                for split in ("train", "test")
            ],
            "has 1 class folders, but needs two or more",
        ),
        (
            lambda path: Image.new("1", (9_500, 9_500)).save(
                path / "train" / "digit 1" / "big.png"
            ),
            "big.png cannot be read as a picture .*decompression bomb",
        ),
    ],
)
def test_unsuitable_folders_are_named(pictures, change, sentence):
    change(pictures)
    with pytest.raises(UserError, match=sentence):
        load_dataset(str(pictures), volume_size=16)
