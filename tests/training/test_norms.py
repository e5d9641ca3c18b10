"""Norms of weights and gradients."""

import numpy as np
import pytest

from tests.support.environments import SCRIPTS, small_environment
from tests.training.states import same


def test_norms_are_those_of_the_parts(env):
    gradients = env.gradients()
    env.step(env.x_test[:4], env.y_test[:4], update=False)  # has other norms
    env.step()
    weights, norms = env.get_weights(), env.norms()
    assert list(norms.weights) == ["conv0", "group0", "group1", "group2", "bn", "fc"]
    for measured, arrays in ((norms.weights, weights), (norms.gradients, gradients)):
        for part, norm in measured.items():
            squares = sum(
                np.square(array, dtype=np.float64).sum()
                for name, array in arrays.items()
                if name.split(".")[0] == part and "running" not in name
            )
            assert norm == pytest.approx(squares**0.5, rel=1e-5) and norm > 0


def check_norms(both):
    """Check that two runs, as after construction, have the same norms in each of some iterations.

    Another order of addition would give other bits in some iterations only.
    """
    for env in both:
        assert np.isnan(list(env.norms().gradients.values())).all()  # there are none yet
    for _ in range(20):
        first, second = [(env.step(), env.norms())[1] for env in both]
        assert first == second and not np.isnan(list(first.gradients.values())).any()
    assert same(*(env.get_weights() for env in both))


def test_norms_are_the_other_front_ends_to_the_last_bit(environments):
    check_norms([environments(name) for name in SCRIPTS])


@pytest.mark.slow
def test_norms_without_projections_are_the_other_front_ends_to_the_last_bit():
    check_norms([small_environment(name) for name in SCRIPTS])
