"""The learning rate and the size of the images as functions of the iteration."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrn3d import TrainingConfig
from wrn3d.training.recipes import RECIPES
from wrn3d.training.schedules import SCHEDULES, learning_rate


def rates(total, **settings):
    config = TrainingConfig(learning_rate=0.5, **settings)
    return [learning_rate(config, iteration, total) for iteration in range(total)]


def test_steps_are_the_papers():
    """Check 0.1 and the factors 0.2 at epochs 60, 120 and 160; an epoch has 390 iterations."""
    paper = RECIPES["paper"]
    epochs = 0, 59, 60, 119, 120, 159, 160, 199
    rates = [learning_rate(paper, epoch * 390, 200 * 390) for epoch in epochs]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 4e-3, 4e-3, 8e-4, 8e-4])
    assert learning_rate(paper, 60 * 390 - 1, 200 * 390) == 0.1


def test_linear_and_cosine_rise_and_fall_where_the_default_is_constant():
    assert rates(7) == [0.5] * 7
    linear = rates(10, schedule="linear", warmup=0.2)
    assert linear == pytest.approx([0.25, 0.5, *(0.5 * left / 8 for left in range(8, 0, -1))])
    cosine = rates(8, schedule="cosine")
    assert cosine == pytest.approx([0.25 * (1 + math.cos(math.pi * i / 8)) for i in range(8)])


@given(st.sampled_from(sorted(SCHEDULES)), st.floats(0, 0.99), st.integers(1, 10**6), st.data())
def test_rates_stay_between_zero_and_the_peak(schedule, warmup, total, data):
    config = TrainingConfig(learning_rate=0.5, schedule=schedule, warmup=warmup)
    iteration = data.draw(st.integers(0, total - 1))
    assert 0 < learning_rate(config, iteration, total) <= 0.5
    assert 0 <= learning_rate(config, total + iteration, total) <= 0.5  # a step after the last


def test_sizes_take_turns():
    config = TrainingConfig(sizes=(0.6, 0.75, 0.75, 1))
    sizes = [config.size_at(iteration, 8) for iteration in range(9)]
    assert sizes == [0.6, 0.6, 0.75, 0.75, 0.75, 0.75, 1, 1, 1]
    assert TrainingConfig().size_at(3, 8) == 1
