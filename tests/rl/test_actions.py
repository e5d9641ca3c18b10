"""Actions as positions in ranges, or factors."""

import gymnasium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wrn3d.rl.actions import FACTORS, RANGES, Control


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(RANGES)), position=st.floats(-1, 1), factor=st.sampled_from(FACTORS)
)
def test_positions_and_values_are_inverse(name, position, factor):
    span = RANGES[name]
    value = span.value_at(position)
    assert span.low * (1 - 1e-9) <= value <= span.high * (1 + 1e-9)
    assert span.position_of(value) == pytest.approx(position, abs=1e-6)
    changed = span.multiplied(value, factor)
    assert span.low <= changed <= span.high
    if span.low < changed < span.high:
        assert span.multiplied(changed, 1 / factor) == pytest.approx(value)


def test_several_settings_have_a_space_of_several_actions():
    spaces = gymnasium.spaces
    assert Control("factors", ("learning_rate",)).space == spaces.Discrete(3)
    assert Control("factors", ("learning_rate", "dropout")).space == spaces.MultiDiscrete([3, 3])
