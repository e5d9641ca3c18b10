"""Looking inside a run: losses, gradients and norms, while nothing moves."""

from dataclasses import replace

import pytest

from tests.training.states import full_state, refused, same


@pytest.mark.parametrize(
    "look",
    [
        lambda env: env.step(update=False),
        lambda env: env.step(update=False, momentum=0.5, weight_decay=0.1, dropout=0.8),
        lambda env: env.gradients(),
        lambda env: env.norms(),
        lambda env: env.snapshot(),
    ],
    ids=["step", "step with settings of its own", "gradients", "norms", "snapshot"],
)
def test_looking_moves_nothing(env, look):
    """Look at the end of an epoch, when the next batch begins another one."""
    start = replace(env.snapshot(), index_in_epoch=env.num_examples // 32 * 32)
    env.restore(start)
    assert env.epoch == (1, True)
    env.step()
    undisturbed = full_state(env)
    env.restore(start)
    before = full_state(env)
    look(env)
    assert same(full_state(env), before)
    looked, taken = env.step(update=False), env.step()
    assert replace(looked, seconds=taken.seconds) == taken
    assert same(full_state(env), undisturbed) and env.epochs_completed == 1


def test_a_look_that_fails_moves_nothing(env, monkeypatch):
    look = env.loss_and_gradients

    def interrupt(*arguments):
        look(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(env, "loss_and_gradients", interrupt)
    with refused(env, KeyboardInterrupt):
        env.gradients()


def test_gradients_are_those_of_the_same_batch_and_of_the_other_front_end(env, other):
    volumes, labels = env.next_batch(32)
    env.reset()
    gradients = env.gradients()
    assert same(env.gradients(volumes, labels), gradients)
    for _ in range(2):
        assert same(env.gradients(), other.gradients())
        assert env.step(update=False).loss == other.step(update=False).loss
        env.step(), other.step()
