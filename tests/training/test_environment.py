"""Construction of CNNEnv: the original's attributes, a spec, the caller's own data, refusals."""

import warnings
from urllib.error import URLError

import numpy as np
import pytest

from tests.support.cifar_files import write_cifar10
from tests.support.environments import environment_class, small_environment
from tests.training.states import same, tensorlayer_slow
from wrn3d import Dataset, WideResNetSpec
from wrn3d.data import download
from wrn3d.system.errors import MissingDataError, UsageError


def test_it_runs_as_the_original_did(tmp_path, front_end):
    write_cifar10(tmp_path, "bin", per_file=40)
    a = environment_class(front_end)(data_dir=tmp_path, depth=10, widen_factor=1)
    a.reset(first=False)
    a.step()
    assert a.x_train.shape == (200, 1, 32, 32, 3) and a.x_test.shape == (40, 1, 32, 32, 3)
    assert a.y_train.shape == (200,) and a.y_test.shape == (40,)
    assert a.mean.shape == (1, 1, 32, 32, 3) and a.std > 0
    assert (a.num_examples, a.index_in_epoch, a.epochs_completed) == (200, 64, 0)
    assert (a.blocks_per_group, a.widening_factor, a.batch_num) == (1, 1, 64)
    assert (a.img_row, a.img_col, a.img_channels, a.nb_classes) == (32, 32, 3, 10)


def test_a_spec_replaces_the_settings_of_the_network(front_end):
    spec = WideResNetSpec(10, 2, dropout=0.1, shortcut="projection")
    env = environment_class(front_end)(spec=spec, dataset="digits")
    assert "group1.block0.convdim" in env.get_weights()
    assert (env.spec, env.widening_factor) == (spec, 2)
    config = env.snapshot().config
    expected = {"depth": 10, "widen_factor": 2, "dropout": 0.1, "shortcut": "projection"}
    assert config.items() >= expected.items()


@pytest.mark.parametrize(
    "front_end, fast",
    [pytest.param("tensorlayer", True, marks=pytest.mark.slow), ("keras", False)],
    indirect=["front_end"],
)
def test_bfloat16_trains_and_warns_where_it_gains_nothing(front_end, monkeypatch, fast):
    for module in ("training.start", "network.convolution"):
        monkeypatch.setattr(f"wrn3d.{module}.has_fast_bfloat16", lambda: fast)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        env = small_environment(front_end, batch_size=8, precision="bfloat16")
        loss = env.step().loss
    places = [warning.filename for warning in caught if "bfloat16" in str(warning.message)]
    assert len(places) == (not fast)
    assert all(place == small_environment.__code__.co_filename for place in places)
    exact = small_environment(front_end, batch_size=8).step().loss
    assert loss != exact and loss == pytest.approx(exact, rel=0.02)
    assert {array.dtype for array in env.get_weights().values()} == {np.dtype(np.float32)}


def split(seed, count):
    images = np.random.default_rng(seed).integers(0, 256, (count, 4, 12, 12, 1), np.uint8)
    return images, np.arange(count) % 3


@tensorlayer_slow
def test_arrays_train_as_the_same_arrays_in_a_file(front_end, tmp_path):
    train, test, validation = split(0, 32), split(1, 9), split(2, 8)
    names = [f"{name}_{kind}" for name in ("train", "test", "val") for kind in ("images", "labels")]
    arrays = dict(zip(names, (*train, *test, *validation), strict=True))
    np.savez(tmp_path / "file.npz", **arrays)
    data = Dataset.from_arrays(
        *train,
        *test,
        validation_images=validation[0],
        validation_labels=validation[1],
        title="mine",
    )
    settings = {"volume_size": 8, "batch_size": 8, "augment": True}
    env = small_environment(front_end, data=data, **settings)
    named = small_environment(front_end, dataset=str(tmp_path / "file.npz"), **settings)
    assert env.spec.input_shape == named.spec.input_shape == (3, 8, 8, 1)
    assert [env.step().loss for _ in range(3)] == [named.step().loss for _ in range(3)]
    assert same(env.get_weights(), named.get_weights())
    for name in ("test", "validation"):
        assert env.evaluate(name) == named.evaluate(name)
    config, expected = env.snapshot().config, named.snapshot().config
    assert (config["dataset"], config["title"]) == ("mine", "mine")
    assert expected["title"] == "file" and config["data"] == expected["data"] == env.fingerprint
    own = dict.fromkeys(("dataset", "title"))
    assert config | own == expected | own


def test_one_worker_does_not_wait_for_the_fingerprint_of_the_data():
    data = Dataset.from_arrays(*split(0, 40))
    small_environment("keras", data=data, batch_size=8)
    assert "fingerprint" not in vars(data)


@tensorlayer_slow
def test_data_of_the_caller_need_no_test_split(front_end):
    data = Dataset.from_arrays(*split(0, 40))
    env = small_environment(front_end, data=data, batch_size=8, validation=12)
    assert (env.num_examples, env.total) == (28, 10) and env.x_test.shape == (0, 4, 12, 12, 1)
    losses = [env.step().loss for _ in range(4)]
    assert env.epochs_completed == 1 and np.isfinite(env.evaluate("validation").loss)
    with pytest.raises(ValueError, match="^arrays has no test split: give Dataset.from_arrays"):
        env.evaluate()
    env.reset()
    assert [env.step().loss for _ in range(4)] == losses


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"spec": WideResNetSpec(10, 1), "depth": 16, "shortcut": "pad"},
            "^spec describes the network already: leave out depth, shortcut$",
        ),
        ({"spec": "WRN-10-1"}, "^spec is 'WRN-10-1', but must be a WideResNetSpec$"),
        (
            {"spec": WideResNetSpec(input_shape=(1, 28, 28, 1))},
            r"^spec is for volumes \(1, 28, 28, 1\) and 10 classes, but digits has volumes \(1, 32",
        ),
        ({"batch_size": 1501}, "batch_size is 1501, but digits has only 1,500"),
        (
            {"augment": True, "cutout": 32},
            "cutout is 32, but must be smaller than the longest side .*, 32$",
        ),
        ({"validation": 1500}, "validation is 1500, but digits has only 1,500 training images"),
        (
            {"volume_size": 10_000},
            "the 1,797 volumes of digits would take .* GiB, but may tak",
        ),
        ({"datset": "x"}, r"^'datset' is not a setting \(did you mean dataset\?\): the"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        environment_class("tensorlayer")(dataset="digits", **settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"spec": WideResNetSpec(10, 1, num_classes=100)},
            "and 100 classes, but CIFAR-10 has",
        ),
        (
            {"spec": WideResNetSpec(10, 1), "dataset": "cifar100"},
            "10 classes, but CIFAR-100 has volumes (1, 32, 32, 3) and 100 classes",
        ),
        ({"spec": WideResNetSpec(10, 1, input_shape=(1, 28, 28, 3))}, "spec is for volumes (1, 28"),
        ({"spec": WideResNetSpec(10, 1), "volume_size": 16}, "CIFAR-10 has volumes (1, 16, 16, 3)"),
        ({"cutout": 32}, "cutout is 32, but must be smaller than the longest side of the images"),
    ],
)
def test_what_cannot_fit_is_refused_before_a_download(front_end, tmp_path, settings, message):
    with pytest.raises(UsageError) as caught:
        environment_class(front_end)(data_dir=tmp_path / "data", **settings)
    assert message in str(caught.value)


def test_what_fits_is_downloaded(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise URLError("no network")

    monkeypatch.setattr(download, "urlopen", refuse)
    spec = WideResNetSpec(10, 1, input_shape=(1, 16, 16, 3))
    with pytest.raises(MissingDataError, match="CIFAR-10 is not in"):
        environment_class("keras")(spec=spec, volume_size=16, data_dir=tmp_path / "data")
