"""Windows: which intensities become which of 256 levels, and what is refused."""

import numpy as np
import pytest

from tests.support.environments import small_environment
from wrn3d import Dataset
from wrn3d.data.load import prepared
from wrn3d.data.windows import Window, check_window, parsed
from wrn3d.system.errors import DataError, UsageError

SCAN = np.arange(-1000, 1000).reshape(1, 20, 100, 1).astype(np.int16)


@pytest.mark.parametrize(
    "given, texts, window",
    [
        ((-100, 400), ("-100", "400"), Window(-100, 400)),
        (("-100", "400.5"), ("-100", "400.5"), Window(-100, 400.5)),
        (["0.5%", "99.5%"], ("0.5%", "99.5%"), Window(0.5, 99.5, True)),
        (("0 %", "100%"), ("0%", "100%"), Window(0, 100, True)),
    ],
)
def test_limits_are_numbers_or_percentiles(given, texts, window):
    assert check_window("window", given) == texts
    assert parsed(texts) == parsed(given) == window


@pytest.mark.parametrize(
    "value",
    [
        ("400", "-100"),
        ("1", "1"),
        ("a", "1"),
        ("nan", "1"),
        ("-inf", "1"),
        ("1%", "2"),
        ("-1%", "50%"),
        ("1%", "101%"),
        ("1",),
        ("1", "2", "3"),
        "12",
        7,
    ],
)
def test_other_limits_are_refused(value):
    with pytest.raises(UsageError, match="window is .*, but must be two numbers, the lower one fi"):
        check_window("window", value)


def test_intensities_become_levels():
    levels = Window(-100, 410)(SCAN, "scan")
    expected = np.rint((SCAN.clip(-100, 410) + 100) / 2)
    assert levels.dtype == np.uint8 and np.array_equal(levels, expected)
    halves = Window(25, 75, percentiles=True)(SCAN, "scan")
    low, high = np.percentile(SCAN, (25, 75))
    assert np.array_equal(halves, np.rint((SCAN.clip(low, high) - low) / (high - low) * 255))


@pytest.mark.parametrize("window", [Window(2000, 3000), Window(-3000, -1000), Window(999, 1200)])
def test_a_window_that_leaves_nothing_is_refused(window):
    with pytest.raises(DataError, match="leaves nothing of a.nii, whose intensities run from -100"):
        window(SCAN, "a.nii")


def test_a_blank_volume_inside_a_window_is_taken():
    assert set(Window(0, 1)(np.zeros((1, 2, 2, 1)), "a.npy").ravel()) == {0}
    with pytest.raises(DataError, match="the window 0 1 leaves nothing of a.npy, whose intensiti"):
        Window(0, 1)(np.full((1, 2, 2, 1), 7), "a.npy")


def test_a_second_window_is_refused():
    data = Dataset.from_arrays(np.arange(64).reshape(4, 4, 4) - 30, [0, 1, 0, 1])
    levels = data.windowed(Window(-20, 20))
    with pytest.raises(UsageError, match="arrays already has the levels of another window: leave"):
        prepared(levels, None, Window(-10, 10))


def test_percentiles_leave_nothing_of_a_constant_scan():
    with pytest.raises(DataError, match="the window 1% 99% leaves nothing of a.nii, whose inte"):
        Window(1, 99, percentiles=True)(SCAN * 0, "a.nii")


def test_a_window_applies_once_to_own_data():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(-900, 900, (40, 8, 8, 8, 1)), np.arange(40) % 2
    dataset = Dataset.from_arrays(images, labels, images[:4], labels[:4])
    levels = prepared(dataset, None, parsed((-100, 400)))
    assert prepared(levels, None, parsed((-100, 400))) is levels
    assert levels.train_volumes.dtype == levels.test_volumes.dtype == np.uint8
    env = small_environment("keras", data=dataset, window=(-100, 400))
    assert env.dataset.fingerprint == levels.fingerprint != dataset.fingerprint
    assert env.snapshot().config["window"] == ("-100", "400")
    with pytest.raises(DataError, match="leaves nothing of train volume 0 of arrays"):
        small_environment("keras", data=dataset, window=(1000, 2000))
