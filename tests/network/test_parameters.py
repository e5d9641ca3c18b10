"""The parameters of a network: counts, canonical names, initial values."""

from math import prod

import numpy as np
import pytest

from wrn3d import WideResNetSpec, initial_weights
from wrn3d.network.parameters import network_parameters, parameter_count


@pytest.mark.parametrize(
    "depth, k, millions",
    [(16, 8, 11.0), (28, 10, 36.5), (40, 4, 8.9)],  # table 5: 2D kernels, with projections
)
def test_centre_slices_count_what_the_paper_counts(depth, k, millions):
    in_2d = sum(
        prod(p.shape) // (p.shape[0] if len(p.shape) == 5 else 1)
        for p in network_parameters(WideResNetSpec(depth, k, shortcut="projection"))
        if p.trainable
    )
    assert in_2d / 1e6 == pytest.approx(millions, abs=0.06)


def test_parameter_count_with_the_arithmetic_beside_it():
    # conv0; group 0: two convolutions; groups 1 and 2: the first has half the input channels.
    kernels = 27 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    norms = 2 * (16 + 16 + 16 + 32 + 32 + 64 + 64)
    assert parameter_count(WideResNetSpec(10, 1)) == kernels + norms + 64 * 10 + 10


def test_names_are_the_authors():
    names = [p.name for p in network_parameters(WideResNetSpec(16, 2, shortcut="projection"))]
    assert names[:6] == [
        "conv0",
        *(f"group0.block0.bn0.{end}" for end in ("weight", "bias", "running_mean", "running_var")),
        "group0.block0.conv0",
    ]
    assert "group0.block0.convdim" in names and "group0.block1.convdim" not in names
    assert names[-2:] == ["fc.weight", "fc.bias"]
    assert len(set(names)) == len(names)


def test_initial_kernels_are_he_normal_in_the_inputs_that_they_meet():
    image, volume = (
        initial_weights(WideResNetSpec(16, 4, input_shape=(depth, 32, 32, 3)), 0)
        for depth in (1, 32)
    )
    for name in ("group1.block1.conv0", "group2.block0.conv1"):
        channels = image[name].shape[3]
        assert image[name].std() == pytest.approx((2 / (9 * channels)) ** 0.5, rel=0.01)
        assert volume[name].std() == pytest.approx((2 / (27 * channels)) ** 0.5, rel=0.01)
        assert abs(image[name].mean()) < 0.01 * image[name].std() + 1e-3


def test_initial_weights_depend_on_the_seed_and_the_name():
    spec = WideResNetSpec(10, 1)
    first, again, other = (initial_weights(spec, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["conv0"], other["conv0"])
    deeper = initial_weights(WideResNetSpec(16, 1), 0)
    assert np.array_equal(first["group1.block0.conv0"], deeper["group1.block0.conv0"])
