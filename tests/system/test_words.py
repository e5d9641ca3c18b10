"""Numbers in sentences."""

import pytest

from wrn3d.system import machine, tensorflow_setup
from wrn3d.system.words import counted, three_digits


@pytest.mark.parametrize(
    "arguments, text",
    [
        ((0, "image"), "0 images"),
        ((1, "image"), "1 image"),
        ((1500, "image"), "1,500 images"),
        ((1, "class", "classes"), "1 class"),
        ((2, "class", "classes"), "2 classes"),
    ],
)
def test_counts_have_their_plural(arguments, text):
    assert counted(*arguments) == text


@pytest.mark.parametrize(
    "number, text",
    [(1030.2, "1,030"), (19.84, "19.8"), (0.42678, "0.427"), (1234567, "1,230,000"), (0, "0")],
)
def test_large_numbers_have_no_exponent(number, text):
    assert three_digits(number) == text


def test_a_machine_with_one_core(monkeypatch):
    for module in (machine, tensorflow_setup):
        monkeypatch.setattr(module, "usable_cores", lambda: 1)
    assert machine.sentence(machine.describe()).startswith("1 core of ")
    assert tensorflow_setup.device().endswith(", 1 core)")
