"""Which specifications are valid, and the names that they give."""

import dataclasses

import pytest

from wrn3d import WideResNetSpec


@pytest.mark.parametrize(
    "field, value",
    [
        ("depth", 9),
        ("depth", 4),
        ("depth", 12),
        ("depth", -2),
        ("depth", 16.0),
        ("depth", True),
        ("widen_factor", 0),
        ("widen_factor", -1),
        ("widen_factor", 1.5),
        ("dropout", -0.1),
        ("dropout", 1),
        ("dropout", float("nan")),
        ("dropout", "0.3"),
        ("num_classes", 1),
        ("input_shape", (32, 32, 3)),
        ("input_shape", (1, 32, 0, 3)),
        ("input_shape", 32),
        ("shortcut", "conv"),
        ("shortcut", None),
        ("strides", (2, 2)),
        ("strides", (1, 2, 3)),
        ("strides", 2),
    ],
)
def test_invalid_value_is_refused_in_one_sentence(field, value):
    with pytest.raises(ValueError, match=f"^{field} is ") as caught:
        WideResNetSpec(**{field: value})
    assert "\n" not in str(caught.value)


def test_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        WideResNetSpec().depth = 16


def test_depth_and_width_have_the_papers_meaning():
    spec = WideResNetSpec(28, 10)
    assert (spec.name, spec.blocks_per_group) == ("WRN-28-10", 4)
    assert spec.group_filters == (160, 320, 640)
