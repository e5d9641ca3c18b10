"""Every entry that takes volumes or labels takes and refuses the same types."""

import ml_dtypes
import numpy as np
import pytest
import torch

from tests.training.states import refused
from wrn3d import Dataset
from wrn3d.predict import Classifier
from wrn3d.system.errors import UsageError

LABELS = [0, 1]
# From 0 to 1 in steps of 1/128, which bfloat16 and float16 hold exactly.
VOLUMES = np.random.default_rng(0).integers(0, 129, (2, 1, 16, 16, 3)).astype(np.float32) / 128
PIXELS = np.rint(VOLUMES * 255).astype(np.uint8)


def in_tensorflow(array, dtype, wrapper="constant"):
    import tensorflow as tf

    return getattr(tf, wrapper)(tf.cast(array, dtype))


def needs_gradients(array):
    return torch.tensor(np.asarray(array, np.float32), requires_grad=True)


FLOATS = {
    "float16": lambda x: x.astype(np.float16),
    "float64": lambda x: x.astype(np.float64),
    "longdouble": lambda x: x.astype(np.longdouble),
    "big-endian": lambda x: x.astype(">f4"),
    "not contiguous": lambda x: x.repeat(2, axis=3)[:, :, :, ::2],
    "bfloat16": lambda x: x.astype(ml_dtypes.bfloat16),
    "lists": lambda x: x.tolist(),
    "masked, nothing hidden": lambda x: np.ma.array(x, mask=False),
    "TensorFlow's float64": lambda x: in_tensorflow(x, "float64"),
    "TensorFlow's bfloat16": lambda x: in_tensorflow(x, "bfloat16"),
    "TensorFlow's variable": lambda x: in_tensorflow(x, "float32", "Variable"),
    "PyTorch's float64": lambda x: torch.tensor(x, dtype=torch.float64),
    "PyTorch's bfloat16": lambda x: torch.tensor(x, dtype=torch.bfloat16),
}
NOT_NUMBERS = {
    "complex": (lambda x: x.astype(complex), "are complex128, but must be"),
    "bool": (lambda x: x.astype(bool), "are bool, but must be"),
    "text": (lambda x: x.astype(str), "are <U32, but must be"),
    "bytes": (lambda x: x.astype("S9"), r"are \|S9, but must be"),
    "objects": (lambda x: x.astype(object), "are object, but must be"),
    "times": (lambda x: x.astype(int).astype("M8[s]"), r"are datetime64\[s\], but must be"),
    "float8": (lambda x: x.astype(ml_dtypes.float8_e4m3fn), "are float8_e4m3fn, but must be"),
    "integers": (lambda x: x.astype(int), "are int64, but must be"),
}
NO_ARRAYS = {
    "masked": (lambda x: np.ma.array(x, mask=x > 0.5), "have masked values: replace them"),
    "needs gradients": (needs_gradients, "cannot be .* requires grad.*: pass a NumPy array, such"),
    "sparse": (lambda x: torch.tensor(x).to_sparse(), "cannot be converted to an array"),
    "no memory": (lambda x: torch.tensor(x, device="meta"), "cannot be converted to an array"),
    "ragged": (lambda x: [x[0], x[1, :, 1:]], "cannot be converted to an array"),
}
NORMALISED = {
    "step": lambda env, volumes: env.step(volumes, LABELS, update=False).loss,
    "gradients": lambda env, volumes: env.gradients(volumes, LABELS)["conv0"],
    "predict": lambda env, volumes: env.predict(volumes),
}


@pytest.mark.parametrize("entry", NORMALISED)
def test_normalised_volumes_of_all_floating_point_types_give_the_same(env, entry):
    call = NORMALISED[entry]
    expected = call(env, VOLUMES)
    for kind, convert in FLOATS.items():
        assert np.array_equal(call(env, convert(VOLUMES)), expected), kind


@pytest.mark.parametrize("entry", [*NORMALISED, "step with update"])
def test_other_volumes_are_refused_before_anything_moves(env, entry):
    call = NORMALISED.get(entry, lambda env, volumes: env.step(volumes, LABELS))
    pixels = (lambda x: PIXELS, r"are uint8, .*: pass env.dataset.normalise\((images|volumes)\)$")
    for convert, message in ({"uint8": pixels} | NOT_NUMBERS | NO_ARRAYS).values():
        with refused(env, UsageError, message) as refusal:
            call(env, convert(VOLUMES))
        assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def takers_of_images(environments, tmp_path_factory):
    """Return {entry: a function of images} of the entries that take a data set's images."""
    env = environments("keras")
    path = tmp_path_factory.mktemp("entries") / "saved.safetensors"
    env.save(path)
    return {"normalise": env.dataset.normalise, "Classifier": Classifier(path)}


BYTES = {
    "PyTorch's uint8": lambda x: torch.tensor(PIXELS),
    "TensorFlow's uint8": lambda x: in_tensorflow(PIXELS, "uint8"),
    "without the depth": lambda x: PIXELS[:, 0],
}
NO_IMAGES = {name: pair for name, pair in NOT_NUMBERS.items() if name not in ("bool", "integers")}


@pytest.mark.parametrize("entry", ["normalise", "Classifier"])
def test_images_are_taken_as_bytes_or_from_0_to_1_and_nothing_else(takers_of_images, entry):
    call = takers_of_images[entry]
    expected = call(PIXELS)
    for kind, convert in (FLOATS | BYTES).items():
        assert np.array_equal(call(convert(VOLUMES)), expected), kind
    others = {
        "normalised": (lambda x: x * 3 - 1, "run from -1 to 2, but the training data are bytes"),
        "integers": (lambda x: x.astype(int), "are int16, but the training data are uint8: pass"),
    }
    for convert, message in (others | NO_IMAGES | NO_ARRAYS).values():
        with pytest.raises(UsageError, match=message) as refusal:
            call(convert(VOLUMES))
        assert "\n" not in str(refusal.value)
    with pytest.raises(UsageError, match=r"volumes have the shape .* \(N, 1, 16, 16, 3\) with"):
        call(PIXELS[:, :, 1:])


def test_a_data_set_takes_each_library_s_numbers_as_they_are():
    for converters, expected in ((FLOATS, VOLUMES), (BYTES, PIXELS)):
        for kind, convert in converters.items():
            found = Dataset.from_arrays(convert(VOLUMES), LABELS).train_volumes
            assert found.dtype == expected.dtype and np.array_equal(found, expected), kind
    for convert, message in (NO_IMAGES | NO_ARRAYS).values():
        with pytest.raises(UsageError, match=message) as refusal:
            Dataset.from_arrays(convert(VOLUMES), LABELS)
        assert "\n" not in str(refusal.value)


def test_labels_are_whole_numbers_of_any_integer_type(env):
    numbers = np.array(LABELS)
    expected = env.step(VOLUMES, numbers, update=False)
    for labels in (
        *(numbers.astype(kind) for kind in (np.int8, np.uint8, np.uint64)),
        torch.tensor(numbers),
        in_tensorflow(numbers, "int32"),
        tuple(LABELS),
    ):
        assert env.step(VOLUMES, labels, update=False).loss == expected.loss
    refusals = {
        name: (convert, "labels must be 2 whole numbers from 0 to 9")
        for name, (convert, _) in NOT_NUMBERS.items()
        if name != "integers"
    }
    for convert, message in (refusals | NO_ARRAYS).values():
        labels = convert(np.array([0.0, 1.0]) if convert is not NO_ARRAYS["ragged"][0] else VOLUMES)
        for call in (env.step, env.gradients):
            with refused(env, UsageError, message):
                call(VOLUMES, labels)
