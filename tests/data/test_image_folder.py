"""Data sets that are folders of pictures."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.support import picture_files
from tests.support.processes import run_script
from tests.support.runs import SMALL
from wrn3d import load_dataset
from wrn3d.data.pictures import read_picture
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


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_pixels_of_a_turned_picture_are_in_their_places(tmp_path, ending, dtype):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (6, 8), dtype)
    Image.fromarray(pixels).save(tmp_path / f"turned.{ending}", exif=exif)
    turned = np.rot90(pixels, -1) // (256 if dtype is np.uint16 else 1)
    assert np.array_equal(read_picture(tmp_path / f"turned.{ending}", 1)[..., 0], turned)


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
    with pytest.warns(UserWarning, match="1 of the files and folders in .*notes.txt: pictures"):
        dataset = load_dataset(str(pictures), volume_size=20)
    assert dataset.volume_shape == (1, 20, 20, 3)
    threes = dataset.train_volumes[dataset.train_labels == 3]
    for colour in (200, (255, 0, 0)):
        assert (threes == colour).all(axis=(1, 2, 3, 4)).sum() == 1


def write(path, picture=8):
    """Write a picture, its bytes or a grey level, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, bytes):
        path.write_bytes(picture)
    else:
        Image.new("L", (8, 8), picture).save(path)


def small_folder(path):
    """Write a folder with two classes of a picture each; return the path as a string."""
    for split in ("train", "test"):
        for name in "ab":
            write(path / split / name / "0.png", 200)
    return str(path)


def test_every_kind_of_picture_is_read_as_it_looks_on_white(tmp_path):
    small_folder(tmp_path)
    files = picture_files.files()
    for name, file in files.items():
        for split in ("test", "val"):
            write(tmp_path / split / "b" / f"{name}.{file.ending}", file.content)
    dataset = load_dataset(str(tmp_path))
    names = sorted(f"{name}.{file.ending}" for name, file in files.items())
    for volumes in (dataset.test_volumes[2:], dataset.validation_volumes):
        assert len(volumes) == len(names)
        for name, volume in zip(names, volumes, strict=True):
            files[name.rpartition(".")[0]].check(volume[0])


@pytest.mark.parametrize("name", picture_files.refused())
def test_pictures_of_unknown_range_or_without_content_are_refused(tmp_path, name):
    ending, content, message = picture_files.refused()[name]
    folder = small_folder(tmp_path)
    write(tmp_path / "train" / "a" / f"1.{ending}", content)
    with pytest.raises(DataError, match=f"^{tmp_path / 'train' / 'a'}/1.{ending} .*{message}"):
        load_dataset(folder, volume_size=8)


def test_a_folder_of_nearly_black_pictures_gives_a_warning(tmp_path):
    folder = small_folder(tmp_path)
    for file in tmp_path.rglob("*.png"):
        write(file, picture_files.files()["12 bits in 16 png"].content)
    with pytest.warns(UserWarning) as caught:
        assert load_dataset(folder).train_volumes.max() == 15
    assert [str(one.message) for one in caught] == [
        f"every picture in {folder} is nearly black, at most 15 of 255: scale its values to the "
        "whole range of the file, such as 12-bit values to 16 bits"
    ]


def test_pictures_in_inner_folders_are_read_and_what_is_not_read_is_named(tmp_path):
    folder = small_folder(tmp_path)
    inner = tmp_path / "train" / "b" / "more" / "0.PNG"
    write(inner, 99)
    (tmp_path / "train" / "b" / "link.png").symlink_to(inner)
    (tmp_path / "train" / ".cache").mkdir()
    for quiet in (".DS_Store", "train/a/.DS_Store", "README.md", "train/a/.x/0.png", "runs/0.png"):
        write(tmp_path / quiet, b"")
    dataset = load_dataset(folder)  # a warning would be an error
    assert sorted(dataset.train_volumes[:, 0, 0, 0, 0].tolist()) == [99, 99, 200, 200]
    assert sorted(dataset.train_labels.tolist()) == [0, 1, 1, 1]
    others = ["train/a/._0.png", "train/a/x.ppm", "test/0.png", "train/b/Thumbs.db"]
    for other in others:
        write(tmp_path / other, b"")
    (tmp_path / "train" / "a" / "linked").symlink_to(tmp_path / "test" / "b")
    (tmp_path / "validation").mkdir()
    with pytest.warns(UserWarning) as caught:
        assert load_dataset(folder).fingerprint == dataset.fingerprint
    assert [str(one.message) for one in caught] == [
        f"6 of the files and folders in {folder} are not read, such as {folder}/test/0.png: "
        "pictures are files in train/<class>/, test/<class>/ or val/<class>/ that end in .png, "
        ".jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp and do not begin with a dot"
    ]


def test_a_link_to_a_missing_picture_is_named(tmp_path):
    folder = small_folder(tmp_path)
    (tmp_path / "train" / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match="gone.png cannot be read as a picture .no such file"):
        load_dataset(folder)


def test_class_names_are_compared_as_text_not_as_bytes(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for split, name in (("train", composed), ("test", decomposed)):
        write(tmp_path / split / name / "0.png", 100)
        write(tmp_path / split / "x" / "0.png", 200)
    dataset = load_dataset(str(tmp_path))
    assert dataset.class_names == (composed, "x") and dataset.test_labels.tolist() == [0, 1]
    assert dataset.test_volumes[:, 0, 0, 0, 0].tolist() == [100, 200]
    write(tmp_path / "train" / decomposed / "0.png", 100)
    with pytest.raises(DataError) as caught:
        load_dataset(str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path / 'train'} has the class {composed!r} twice, as 'cafe\\u0301' and as "
        "'caf\\xe9', two ways to write it in Unicode: move the pictures into one folder"
    )


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
