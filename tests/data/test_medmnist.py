"""Data sets in one .npz file in MedMNIST's format, with real digits in it."""

import json
import re

import numpy as np
import pytest

from tests.support.processes import run_script
from wrn3d import load_dataset
from wrn3d.system.errors import DataError, MissingDataError, UsageError


@pytest.fixture
def arrays(digits):
    """Return volumes of two classes: digits that brighten and darken along the depth."""
    small = digits.train_volumes[:60, 0, ::4, ::4, 0]
    volumes = np.stack([small // divisor for divisor in (4, 2, 1, 2, 4)], axis=1)
    labels = (digits.train_labels[:60, None] % 2).astype(np.uint8)
    cuts = {"train": slice(40), "val": slice(40, 50), "test": slice(50, 60)}
    return {
        f"{split}_{kind}": value[rows]
        for split, rows in cuts.items()
        for kind, value in (("images", volumes), ("labels", labels))
    }


def saved(path, arrays):
    np.savez_compressed(path, **arrays)
    return str(path)


def test_volumes_and_their_splits_are_read(tmp_path, arrays):
    dataset = load_dataset(saved(tmp_path / "digits3d.npz", arrays))
    assert (dataset.title, dataset.class_names) == ("digits3d", ("0", "1"))
    for name, prefix in (("train", "train"), ("validation", "val"), ("test", "test")):
        volumes, labels = dataset.split(name)
        assert np.array_equal(volumes[..., 0], arrays[f"{prefix}_images"])
        assert np.array_equal(labels, arrays[f"{prefix}_labels"].ravel())
    assert dataset.volume_shape == (5, 8, 8, 1)


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((2, 8, 8), (1, 8, 8, 1)),
        ((2, 8, 8, 3), (1, 8, 8, 3)),
        ((2, 8, 8, 1), (1, 8, 8, 1)),
        ((2, 5, 8, 8), (5, 8, 8, 1)),
        ((2, 5, 8, 8, 3), (5, 8, 8, 3)),
        # A short axis is a depth or a width where channels are out of the question.
        ((2, 1, 8, 8), (1, 8, 8, 1)),
        ((2, 3, 8, 8, 1), (3, 8, 8, 1)),
        ((2, 8, 8, 4, 1), (8, 8, 4, 1)),
        ((2, 1, 8, 8, 3), (1, 8, 8, 3)),
        ((2, 4, 4, 4), (4, 4, 4, 1)),
    ],
)
def test_images_have_depth_one_and_channels_come_last(tmp_path, shape, expected):
    arrays = {
        f"{split}_{kind}": value
        for split in ("train", "val", "test")
        for kind, value in (("images", np.zeros(shape, np.uint8)), ("labels", np.array([0, 1])))
    }
    assert load_dataset(saved(tmp_path / "x.npz", arrays)).volume_shape == expected


def test_volumes_train_and_the_best_is_chosen_by_their_own_validation_split(tmp_path, arrays):
    arrays["test_images"][[2, 7]] = arrays["train_images"][[30, 31]]
    path = saved(tmp_path / "volumes.npz", arrays)
    process = run_script(
        "tensorlayer",
        *("--dataset", path, "--depth", "10", "--widen-factor", "1", "--batch-size", "20"),
        *("--iterations", "2", "--save-every", "1", "--output", tmp_path / "run", "--evaluate"),
    )
    assert (process.returncode, process.stderr) == (
        0,
        "note: 2 of the 10 test volumes of volumes also occur in an earlier split: their scores "
        "are optimistic, and tests have scores without them, too\n",
    )
    assert re.search(r"\ntest      loss .* \(8 images, without duplicates\)\n", process.stdout)
    results = json.loads((tmp_path / "run" / "test.json").read_text())
    assert (results["test"]["count"], results["test_unique"]["count"]) == (10, 8)
    assert (
        "40 training, 10 validation and 10 test volumes of 5x8x8x1 (D, H, W, C), 2 classes"
        in process.stdout
    )
    assert "validation 1/2  loss " in process.stdout and "(10 images" in process.stdout
    assert (tmp_path / "run" / "best.safetensors").exists()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"val_labels": None}, r"it lacks val_labels: it needs train_images, .*val_labels\)$"),
        (
            dict.fromkeys(("test_images", "train_labels")),
            r"\(it lacks train_labels, test_images: it needs train_images, train_labels, "
            r"test_images, test_labels, and may have val_images and val_labels\)$",
        ),
        (
            {"val_images": np.zeros((0, 5, 8, 8), np.uint8), "val_labels": np.zeros((0, 1), int)},
            "val_images hold no images: leave out val_images and val_labels",
        ),
        ({"test_images": np.zeros((0, 5, 8, 8), np.uint8)}, r"its test_images hold no images\)$"),
        ({"train_images": np.zeros((40, 5, 8, 8), object)}, "train_images.npy holds Python objec"),
        ({"train_labels": np.array([[1], [1, 2]], object)}, "train_labels.npy holds Python objec"),
        (
            {"train_images": np.zeros((40, 3, 8, 9), np.uint8)},
            r"the shape \(40, 3, 8, 9\), which looks like \(N, C, H, W\): move the channels last "
            r"with np.moveaxis\(images, 1, -1\), or add an axis to volumes with images\[...",
        ),
        (
            {"train_images": np.zeros((40, 8, 8, 4), np.uint8)},
            r"which looks like \(N, H, W, C\): keep 1 or 3 channels, or add an axis to volumes",
        ),
        (
            {"train_images": np.zeros((40, 1, 8, 8, 8), np.uint8)},
            r"which looks like \(N, C, D, H, W\): move the channels last with np.moveaxis\(images",
        ),
        (
            {"train_images": np.full((40, 5, 8, 8), np.nan)},
            "its train_images contain NaN: replace them",
        ),
        (
            {"train_images": np.zeros((40, 5, 8, 8), np.float32)},
            "the images of the splits have different types: float32, uint8",
        ),
        ({"class_names": np.array(["a", "b", "b"])}, "but must be two or more different texts"),
        ({"class_names": np.array(["a", "b"], object)}, "class_names.npy holds Python objects"),
        ({"train_images": np.zeros((40, 5, 8, 8, 2), np.uint8)}, "train_images have 2 channels"),
        (
            {"test_images": np.zeros((10, 5, 8, 9), np.uint8)},
            "images of the splits have different sizes",
        ),
        (
            {"test_labels": np.full(10, 7)},
            "no training label is 2: number two or more classes from 0",
        ),
        ({"train_labels": np.full((40, 2), 1)}, "must be 40 whole numbers"),
        ({"train_labels": np.full(40, -1)}, "train_labels go down to -1"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, change, sentence):
    kept = {name: array for name, array in (arrays | change).items() if array is not None}
    with pytest.raises(
        DataError, match=f"x.npz is not an .npz file in MedMNIST's format .*{sentence}"
    ):
        load_dataset(saved(tmp_path / "x.npz", kept))


@pytest.mark.parametrize(
    "file, names",
    [
        ("adrenalmnist3d_64", ("normal", "hyperplasia")),
        ("VesselMNIST3D", ("vessel", "aneurysm")),
        ("modelnet10_32", ("0", "1")),  # which has ten classes
        ("mine", ("0", "1")),
    ],
)
def test_the_classes_of_well_known_files_have_names(tmp_path, arrays, file, names):
    assert load_dataset(saved(tmp_path / f"{file}.npz", arrays)).class_names == names


def test_modelnet10_has_the_names_of_its_folders(tmp_path):
    labels = np.arange(10)
    arrays = {f"{name}_labels": labels for name in ("train", "test")}
    arrays |= {f"{name}_images": np.zeros((10, 4, 4), np.uint8) for name in ("train", "test")}
    names = load_dataset(saved(tmp_path / "modelnet10_32.npz", arrays)).class_names
    assert names[:2] == ("bathtub", "bed") and names[6] == "night_stand" and names[9] == "toilet"


def test_a_validation_split_is_optional(tmp_path, arrays):
    kept = {name: array for name, array in arrays.items() if not name.startswith("val")}
    dataset = load_dataset(saved(tmp_path / "x.npz", kept))
    assert [len(dataset.split(name)[1]) for name in ("train", "test")] == [40, 10]
    with pytest.raises(UsageError, match="^x has no validation split: set training images aside"):
        dataset.split("validation")
    assert len(dataset.with_validation(8).split("validation")[1]) == 8


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        MissingDataError, match="none.npz does not exist or is not a file: dataset has"
    ):
        load_dataset(str(tmp_path / "none.npz"))
