"""Data sets: from a caller's arrays, their splits, and how they are normalised."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.environments import small_environment
from wrn3d import Dataset, load_dataset
from wrn3d.system.errors import UsageError

SHAPES = {  # of images: the shape of volumes
    (8, 9): (1, 8, 9, 1),
    (8, 9, 1): (1, 8, 9, 1),
    (8, 9, 3): (1, 8, 9, 3),
    (5, 8, 9, 1): (5, 8, 9, 1),
    (1, 8, 9, 7): (1, 8, 9, 7),
}
SPLITS = ("train", "test", "validation")


def bytes_of(shape, count=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def labels_of(count=6):
    return np.arange(count) % 3


@pytest.mark.parametrize("others", [(), ("test",), ("validation",), ("test", "validation")])
@pytest.mark.parametrize("kind, kept", [(np.uint8, np.uint8), (np.int64, np.int16)])
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_of_each_shape_become_volumes(shape, kind, kept, others):
    images = {name: bytes_of(shape, 6, seed) for seed, name in enumerate(("train", *others))}
    arrays = {f"{name}_images": pixels.astype(kind) for name, pixels in images.items()}
    labels = {f"{name}_labels": labels_of()[:, None].astype(np.int8) for name in images}
    dataset = Dataset.from_arrays(**arrays, **labels)
    for name, pixels in images.items():
        volumes, numbers = dataset.split(name)
        assert np.array_equal(volumes, pixels.reshape(6, *SHAPES[shape]))
        assert (volumes.dtype, numbers.dtype) == (kept, np.int64)
        assert np.array_equal(numbers, labels_of())
    assert (dataset.title, dataset.class_names) == ("arrays", ("0", "1", "2"))
    size = np.dtype(kept).itemsize
    assert dataset.nbytes == len(images) * (6 * images["train"][0].size * size + 6 * 8)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data(), shape=st.sampled_from([shape for shape in SHAPES if shape[-1] != 7]))
def test_arrays_make_the_data_set_that_their_npz_file_makes(tmp_path_factory, data, shape):
    counts = data.draw(st.tuples(*[st.integers(3, 7)] * 3))
    arrays = {}
    for seed, (name, count) in enumerate(zip(SPLITS, counts, strict=True)):
        arrays[f"{name}_images"] = bytes_of(shape, count, data.draw(st.integers(0, 99)) + seed)
        arrays[f"{name}_labels"] = labels_of(count)[:, None]
    path = tmp_path_factory.mktemp("npz") / "arrays.npz"
    np.savez(path, **{name.replace("validation", "val"): array for name, array in arrays.items()})
    ours, read = Dataset.from_arrays(**arrays), load_dataset(str(path))
    assert ours.fingerprint == read.fingerprint
    assert (ours.title, ours.class_names) == (read.title, read.class_names)
    for name in SPLITS:
        assert all(map(np.array_equal, ours.split(name), read.split(name)))


def test_splits_of_16_bits_get_a_type_that_holds_both():
    images = bytes_of((8, 9)).astype(np.int32)
    low, high = Dataset.from_arrays(images - 300, LABELS), Dataset.from_arrays(images * 200, LABELS)
    assert (low.train_volumes.dtype, high.train_volumes.dtype) == (np.int16, np.uint16)
    both = Dataset.from_arrays(images - 300, LABELS, images * 200, LABELS)
    assert both.train_volumes.dtype == both.test_volumes.dtype == np.float32
    assert np.array_equal(both.test_volumes, high.train_volumes)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_later_changes_of_the_callers_arrays_change_nothing(shape, kind):
    images, labels = (bytes_of(shape) > 127).astype(kind), labels_of()
    dataset = Dataset.from_arrays(images, labels, images, labels)
    before = dataset.fingerprint
    images[:], labels[:] = 1 - images, 0
    assert replace(dataset).fingerprint == before  # computed anew
    assert replace(dataset, train_labels=labels).fingerprint != before


def test_whatever_numpy_makes_an_array_of_is_taken():
    images = torch.rand(4, 8, 8, 3)
    expected = Dataset.from_arrays(images.numpy(), np.array([0, 1, 0, 1])).fingerprint
    for given_images, labels in ((images, (0, 1, 0, 1)), (images.tolist(), [[0], [1], [0], [1]])):
        assert Dataset.from_arrays(given_images, labels).fingerprint == expected


@pytest.mark.parametrize("names", [list("abcd"), np.array(list("abcd"))])
def test_a_class_with_a_name_needs_no_sample(names):
    dataset = Dataset.from_arrays(bytes_of((8, 9)), labels_of() + 1, class_names=names)
    assert dataset.class_names == ("a", "b", "c", "d")
    assert all(type(name) is str for name in dataset.class_names)
    assert dataset.class_weights.tolist() == [1.5, 0.75, 0.75, 0.75]
    assert dataset.class_counts.tolist() == [0, 2, 2, 2]


def test_a_test_split_is_optional():
    dataset = Dataset.from_arrays(bytes_of((8, 12)), labels_of(), title="mine")
    with pytest.raises(UsageError, match="^mine has no test split: give .* test_images and test_l"):
        dataset.split("test")
    with pytest.raises(
        UsageError, match="^mine has no validation split: set training images aside"
    ):
        dataset.split("validation")
    smaller = dataset.with_validation(2).resized(6)
    assert smaller.train_volumes.shape == (4, 1, 4, 6, 1)
    assert smaller.split("validation")[0].shape == (2, 1, 4, 6, 1)
    assert smaller.normalise(smaller.test_volumes).shape == (0, 1, 4, 6, 1)
    assert smaller.fingerprint != dataset.fingerprint
    assert smaller.nbytes == 6 * (4 * 6 + 8)


IMAGES, LABELS = bytes_of((8, 9)), labels_of()
FLOATS = IMAGES / 255


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (
            {"train_images": FLOATS.astype(complex)},
            "train_images are complex128, but must be whole numbers, floating-point numbers or boo",
        ),
        ({"train_images": FLOATS * np.nan}, "train_images contain NaN: replace them"),
        ({"train_images": FLOATS + np.inf}, "train_images contain infinite values: replace them"),
        ({"train_images": FLOATS + 1e39}, "train_images contain infinite values: replace them"),
        (
            {"train_images": IMAGES.astype(int) << 20},
            r"train_images run from 0 to 2\d{2},\d{3},\d{3}, but whole numbers must lie within 1",
        ),
        (
            {"test_images": FLOATS, "test_labels": LABELS},
            "the images of the splits have different types: float32, uint8",
        ),
        ({"train_images": IMAGES[:, 0]}, r"train_images have the shape \(6, 9\), but must be"),
        ({"train_images": IMAGES[:0]}, r"shape \(0, 8, 9\), but .* with at least one image"),
        ({"train_images": None}, "train_images and train_labels go together: give both or neith"),
        ({"train_images": [[[1, 2]], [[1]]]}, "train_images cannot be converted to an array"),
        ({"train_images": IMAGES[:, None]}, r"for images \(N, C, H, W\) pass np.moveaxis"),
        ({"train_images": np.stack([IMAGES] * 5, 1)}, r"volumes \(N, D, H, W\) pass images\[..."),
        (
            {"train_images": np.stack([IMAGES] * 2, 1)[..., None].repeat(5, -1)},
            r"shape \(6, 2, 8, 9, 5\), which looks like \(N, C, D, H, W\): move the channels last",
        ),
        (
            {"train_images": np.stack([IMAGES] * 9, -1)[:, None]},
            r"shape \(6, 1, 8, 9, 9\), which looks like \(N, C, D, H, W\): move the channels last",
        ),
        ({"train_labels": LABELS[1:]}, r"shape \(5,\), but must be 6 whole numbers, one for each"),
        ({"train_labels": np.eye(6)}, r"one-hot rows as labels.argmax\(axis=1\)"),
        ({"train_labels": LABELS * 1.0}, "train_labels are float64 of the shape"),
        ({"train_labels": LABELS > 1}, "train_labels are bool of the shape"),
        ({"train_labels": LABELS - 1}, "train_labels go down to -1, but must be 0 or greater"),
        ({"train_labels": LABELS + 1}, "no training label is 0: number two or more classes from 0"),
        ({"train_labels": LABELS * 2**61}, "no training label is 1: number two or more"),
        ({"train_labels": LABELS * 0}, "no training label is 1: number two or more"),
        ({"test_images": IMAGES}, "test_images and test_labels go together"),
        ({"validation_labels": LABELS}, "validation_images and validation_labels go together"),
        ({"test_images": IMAGES, "test_labels": LABELS + 1}, "no training label is 3"),
        ({"test_images": IMAGES[:, 1:], "test_labels": LABELS}, "of the splits have different si"),
        ({"class_names": ["a", "b"]}, "labels go up to 2, but class_names has only 2, for the l"),
        ({"class_names": "abc"}, "class_names is 'abc', but must be two or more different texts"),
        ({"class_names": ["a", "b", "a"]}, "class_names is .*, but must be two or more different"),
        ({"class_names": [1, 2, 3]}, "class_names is .*, but must be two or more different texts"),
        ({"class_names": 3}, "class_names is 3, but must be two or more different texts"),
        ({"title": 3}, "title is 3, but must be a text"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_a_sentence(changes, sentence):
    with pytest.raises(UsageError, match=sentence) as refusal:
        Dataset.from_arrays(**{"train_images": IMAGES, "train_labels": LABELS} | changes)
    assert "\n" not in str(refusal.value)


def test_the_last_training_samples_become_the_validation_split(digits):
    dataset = digits.with_validation(300)
    assert len(dataset.train_labels) == 1200
    volumes, labels = dataset.split("validation")
    assert np.array_equal(labels, digits.train_labels[-300:])
    assert np.array_equal(volumes, digits.train_volumes[-300:])
    with pytest.raises(UsageError, match="split is 'valid', but must be train, validation or test"):
        dataset.split("valid")
    with pytest.raises(UsageError, match="validation is 1500, but digits has only 1,500 training"):
        digits.with_validation(1500)
    with pytest.raises(UsageError, match="digits already has a validation split of 300 images: l"):
        dataset.with_validation(5)


def test_an_environment_measures_the_validation_split():
    env = small_environment("keras", validation=300)
    volumes, labels = env.dataset.split("validation")
    logits = env.predict(env.dataset.normalise(volumes))
    assert env.evaluate("validation").accuracy == np.mean(logits.argmax(axis=1) == labels)
    assert (env.num_examples, len(env.y_train), len(labels)) == (1200, 1200, 300)


def test_normalisation_is_the_original_scripts(digits):
    images = digits.train_volumes.astype(np.float64)
    expected = (images - images.mean(axis=0, keepdims=True)) / images.std()
    np.testing.assert_allclose(digits.normalise(digits.train_volumes), expected, atol=1e-5)
    assert digits.mean.shape == (1, 1, 32, 32, 3)
    assert digits.std == pytest.approx(images.std(), rel=1e-6)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.float32])
def test_numbers_are_kept_and_normalised_by_their_own_statistics(kind):
    low, high = (-1024, 3000) if kind == np.int16 else (0, 60000)
    images = np.random.default_rng(0).integers(low, high, (6, 4, 5, 6, 1)).astype(kind)
    dataset = Dataset.from_arrays(images, labels_of())
    assert dataset.train_volumes.dtype == kind and np.array_equal(dataset.train_volumes, images)
    numbers = images.astype(np.float64)
    expected = (numbers - numbers.mean(axis=0, keepdims=True)) / numbers.std()
    np.testing.assert_allclose(dataset.normalise(images), expected, atol=1e-5)
    assert dataset.std == pytest.approx(numbers.std(), rel=1e-6)


def test_the_statistics_of_16_bits_do_not_overflow():
    images = np.full((40, 16, 16, 16, 1), 65535, np.uint16)
    images[:, ::2] = 1
    dataset = Dataset.from_arrays(images, np.arange(40) % 2)
    assert dataset.std == 32767 and set(dataset.mean.ravel()) == {1, 65535}


def test_numbers_of_another_unit_are_not_normalised(digits):
    numbers = Dataset.from_arrays(bytes_of((8, 9)) * np.float32(3), labels_of())
    with pytest.raises(UsageError, match="volumes are uint8, but the training data are float32: p"):
        numbers.normalise(bytes_of((8, 9)))
    with pytest.raises(UsageError, match="volumes are int16, but the training data are uint8: pas"):
        digits.normalise(digits.test_volumes.astype(np.int16))
    with pytest.raises(UsageError, match="volumes run from 0 to 255, but the training data are by"):
        digits.normalise(digits.test_volumes * 1.0)
    floats = digits.normalise(digits.test_volumes / 255)
    assert np.array_equal(floats, digits.normalise(digits.test_volumes))


def test_resizing_scales_the_spacing():
    data = Dataset.from_arrays(bytes_of((8, 8, 4, 1)), labels_of())
    assert data.resized(4).spacing is None
    scans = replace(data, spacing=(2.0, 1.0, 1.0))
    assert scans.resized(4).spacing == (4.0, 2.0, 2.0)


def test_resizing_keeps_the_type():
    images = np.random.default_rng(0).integers(-900, 900, (6, 8, 8, 8, 1))
    floats = Dataset.from_arrays(images.astype(np.float32), labels_of()).resized(4)
    whole = Dataset.from_arrays(images.astype(np.int16), labels_of()).resized(4)
    assert (floats.train_volumes.dtype, whole.train_volumes.dtype) == (np.float32, np.int16)
    assert np.array_equal(np.rint(floats.train_volumes), whole.train_volumes)
    assert not np.array_equal(floats.train_volumes, whole.train_volumes)


def test_a_constant_training_set_is_not_divided_by_zero():
    constant = Dataset.from_arrays(np.full((3, 2, 2), 7, np.uint8), [0, 1, 0])
    assert not constant.normalise(constant.train_volumes).any()


def test_labels_below_zero_are_refused(digits):
    with pytest.raises(UsageError, match=r"train_labels int64 \(N,\), 0 or greater: make"):
        replace(digits, train_labels=digits.train_labels - 1)
