"""Maps of a network's size return to the size of the file."""

from itertools import product

import numpy as np
import pytest

from wrn3d.data.fitting import Resizing, fit, unfit

PICTURES = [(1, 40, 40), (1, 60, 40), (1, 35, 80)]


@pytest.mark.parametrize(
    "own, method",
    [*product(PICTURES, ("linear", "bicubic")), ((24, 40, 32), "linear")],
)
def test_a_map_returns_to_its_place(own, method):
    sides = (1, 20, 20) if own[0] == 1 else (12, 20, 16)
    volume = np.zeros((*own, 1), np.uint8)
    centre = [side // 2 for side in own]
    for row, column in ((-12, 3), (9, -7)):
        place = centre[0], centre[1] + row, centre[2] + column
        volume[:] = 0
        volume[tuple(slice(max(0, one - 2), one + 3) for one in place)] = 255
        small = fit(volume, sides, [Resizing(method, sides)])[..., 0].astype(np.float32)
        back = unfit(small, own)
        assert back.shape == own
        peak = np.unravel_index(back.argmax(), own)
        assert max(abs(a - b) for a, b in zip(peak, place, strict=True)) <= 3


def test_what_was_cut_off_is_zero():
    back = unfit(np.ones((1, 20, 20), np.float32), (1, 60, 40))
    assert (back[0, 10:50] == 1).all() and not back[0, :10].any() and not back[0, 50:].any()
