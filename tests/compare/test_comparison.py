"""Differences between two sides are found and named. Both sides run in the tests' process."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.environments import SCRIPTS, small_environment
from wrn3d.compare import comparison
from wrn3d.compare.comparison import Pair, largest_difference
from wrn3d.compare.side import Answers, Side


@pytest.fixture(scope="module")
def environments():
    return {name: small_environment(name, volume_size=8, batch_size=8) for name in SCRIPTS}


@pytest.fixture
def compare(environments, monkeypatch):
    """Return a function that resets both environments, changes those named, and compares them."""

    def compare(changed, change, iterations=5):
        class SideHere(Side):
            def __init__(self, front_end, settings):
                self.front_end, self.results, self.start = front_end, [], 0.0
                env = environments[front_end.lower()]
                env.reset()
                if front_end.lower() in changed:
                    change(env, monkeypatch)
                self.answers = Answers(env)

            def ask(self, question):
                return getattr(self.answers, question)()

            def __exit__(self, *exception):
                pass

        monkeypatch.setattr(comparison, "Side", SideHere)
        with Pair({"seed": 0}) as pair:
            for _ in range(iterations):
                pair.step()
            return pair.comparison(evaluate=True)

    return compare


def one_up(number):
    return np.nextafter(number, np.float32(np.inf))


def nudge(env, monkeypatch=None):
    """Change one weight by one unit in the last place."""
    weights = env.get_weights()
    kernel = weights["group1.block0.conv0"]
    kernel[1, 1, 1, 0, 0] = one_up(kernel[1, 1, 1, 0, 0])
    env.set_weights(weights)


def nudge_after_the_third(env, monkeypatch):
    def step():
        result = type(env).step(env)
        if result.iteration == 3:
            nudge(env)
        return result

    monkeypatch.setattr(env, "step", step, raising=False)


def change_the_third_loss(env, monkeypatch):
    def step():
        result = type(env).step(env)
        loss = float(one_up(np.float32(result.loss)))
        return replace(result, loss=loss) if result.iteration == 3 else result

    monkeypatch.setattr(env, "step", step, raising=False)


def change_a_logit(env, monkeypatch):
    def predict(volumes):
        logits = type(env).predict(env, volumes).copy()
        logits[0, 0] = one_up(logits[0, 0])
        return logits

    monkeypatch.setattr(env, "predict", predict, raising=False)


def change_the_evaluation(env, monkeypatch):
    def evaluate():
        result = type(env).evaluate(env)
        return result._replace(loss=result.loss + 2**-30)

    monkeypatch.setattr(env, "evaluate", evaluate, raising=False)


@pytest.mark.parametrize(
    "change, side, iteration, name",
    [
        (nudge, "keras", 0, "group1.block0.conv0"),
        (nudge_after_the_third, "tensorlayer", 3, "group1.block0.conv0"),
        (change_the_third_loss, "tensorlayer", 3, "the loss"),
        (change_a_logit, "keras", 5, "the logits"),
        (change_the_evaluation, "keras", 5, "the evaluation"),
    ],
)
def test_one_unit_in_the_last_place_is_found_and_named(compare, change, side, iteration, name):
    result = compare([side], change)
    first = result.first
    assert (first.iteration, first.name, first.others) == (iteration, name, 0)
    # The unit in the last place is a power of two.
    assert 0 < first.size < 1e-6 and np.frexp(first.size)[0] == 0.5
    assert str(first) == f"differs first at iteration {iteration} in {name} by {first.size:.3g}"
    assert not result.agrees(0) and result.agrees(result.size)
    assert (result.largest["weights"] > 0) == (change in (nudge, nudge_after_the_third))


def test_runs_that_diverge_are_identical(compare):
    def diverge(env, monkeypatch):
        step = type(env).step
        monkeypatch.setattr(env, "step", lambda: step(env, learning_rate=1e30), raising=False)

    result = compare(SCRIPTS, diverge, iterations=3)
    assert result.first is None and result.agrees(0)
    assert all(np.isnan(run.results[-1].loss) for run in result.runs.values())


@pytest.mark.parametrize(
    "left, right, size",
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5),
        (np.nan, np.nan, 0),
        (np.nan, 1.0, np.inf),
        (np.inf, np.inf, 0),
        (np.inf, 1.0, np.inf),
        ([np.nan, 3], [np.nan, 1], 2),
        (np.float32(1e-30), np.float32(0), float(np.float32(1e-30))),
    ],
)
def test_the_largest_difference(left, right, size):
    assert largest_difference(left, right) == size
