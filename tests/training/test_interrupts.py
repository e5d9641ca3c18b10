"""Exceptions from outside in the middle of a call: they get out before or after its change."""

import numpy as np
import pytest

from tests.support.environments import small_environment
from tests.support.interrupts import TIMERS, interrupt, moments
from tests.training.states import full_state, same

ROWS = np.arange(0, 900, 2)


def use_average(env):
    with env.averaged():
        env.get_weights()


CALLS = {
    "step": lambda env: env.step(),
    "step without update": lambda env: env.step(update=False),
    "gradients": lambda env: env.gradients(),
    "next_batch": lambda env: env.next_batch(32),
    "use_only": lambda env: env.use_only(ROWS),
    "set_weights": lambda env: env.set_weights(env.other_weights),
    "restore": lambda env: env.restore(env.other_state),
    "reset": lambda env: env.reset(seed=3),
    "predict": lambda env: env.predict(env.some_volumes),
    "averaged": use_average,
    "snapshot": lambda env: env.snapshot(),
}
QUICK = ("step", "restore", "averaged")


@pytest.fixture
def start(env):
    """Put what the calls need on the environment; return the state in which they begin."""
    env.use_only(ROWS)
    for _ in range(3):
        env.step()
    env.other_state = env.snapshot()
    env.other_weights = env.get_weights()
    env.some_volumes = env.next_batch(8)[0]
    env.use_only(None)
    env.reset()
    for _ in range(4):  # the fifth iteration updates the average
        env.step()
    yield env.snapshot()
    env.restore(env.snapshot())


def state_of(env):
    rows = env.feed.selection.rows
    seed = {"seed": np.array(env.config.seed), "rows": np.array([-1] if rows is None else rows)}
    return full_state(env) | seed


@pytest.mark.parametrize("source", TIMERS)
@pytest.mark.parametrize(
    "name, count",
    [(name, 10) for name in QUICK]
    + [pytest.param(name, 12, marks=pytest.mark.slow) for name in CALLS]
    + [pytest.param(name, 300, marks=pytest.mark.soak) for name in CALLS],
)
def test_a_call_ends_its_change_or_leaves_everything_as_it_was(env, start, name, count, source):
    call, states, losses = CALLS[name], [], []
    for moment in (0.0, None, *moments(lambda: call(env), count)):
        env.restore(start)
        if moment is None:
            call(env)  # undisturbed
        elif moment:
            interrupt(source, moment, lambda: call(env))
        states.append(state_of(env))
        losses.append(env.step().loss)
    before, after, *others = range(len(states))
    for other in others:
        expected = next(i for i in (before, after) if same(states[i], states[other]))
        assert losses[other] == losses[expected]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.05, 0.2, 0.5, 1.0])
def test_an_interrupt_while_the_first_iteration_is_traced_costs_nothing(front_end, moment):
    env, undisturbed = (small_environment(front_end, momentum=0.9) for _ in range(2))
    interrupt("signal", moment, env.step)
    for _ in range(2):
        undisturbed.step()
    while env.iteration < 2:
        env.step()
    assert same(env.get_weights(), undisturbed.get_weights())


def test_an_average_ends_with_a_context_that_an_interrupt_kept_from_leaving(env):
    """As one does that gets out before the first step of `__exit__`."""
    for _ in range(5):
        env.step()
    last = env.get_weights()
    context = env.averaged()
    context.__enter__()
    assert not same(last, env.get_weights())
    del context
    assert same(last, env.get_weights())
    env.step()


def test_a_handler_sees_the_state_after_the_iteration(env):
    """Also one that uses the run itself, such as a job's signal to save it."""
    import signal

    seen = []
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(env.snapshot()))
    undisturbed = env.train_batch

    def train_and_signal(*batch):
        scores = undisturbed(*batch)
        signal.raise_signal(signal.SIGUSR1)
        return scores

    env.train_batch = train_and_signal
    try:
        env.step()
    finally:
        del env.train_batch
    assert [one.iteration for one in seen] == [1]
    assert same(seen[0].weights, env.get_weights())
