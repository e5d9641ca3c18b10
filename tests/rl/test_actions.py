"""Actions as positions in ranges, or factors."""

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wrn3d.rl.actions import FACTORS, RANGES, Control

GRADIENT = torch.ones(1, requires_grad=True)  # which NumPy cannot convert


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


def test_factors_multiply_the_settings():
    control, settings, rates = Control("factors", ("learning_rate",)), {"learning_rate": 0.05}, []
    for action in (0, 2, 2, 1):
        settings = control.apply(action, settings)
        rates.append(settings["learning_rate"])
    assert rates == pytest.approx([0.025, 0.05, 0.1, 0.1])


@pytest.mark.parametrize(
    "kind, actions",
    [
        ("continuous", [[np.nan], [0.1, 0.2], None, "0.1", [[1], [2, 3]], [True], GRADIENT]),
        ("factors", [-1, 3, 0.9, "2", True, [0, 1], None, GRADIENT]),
    ],
)
def test_an_invalid_action_is_refused(kind, actions):
    control = Control(kind, ("learning_rate",))
    for action in actions:
        with pytest.raises(ValueError, match="^action is .*, but must be a .* for each of learn"):
            control.apply(action, {"learning_rate": 0.1})


def test_positions_are_clipped_to_the_range():
    changed = Control("continuous", ("learning_rate",)).apply([5.0], {})
    assert changed["learning_rate"] == pytest.approx(1.0)
