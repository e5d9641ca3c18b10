"""Environments that most tests of training share: building and tracing one takes a second."""

import functools

import pytest

from tests.support.environments import SCRIPTS, small_environment
from tests.training.states import FULL


@pytest.fixture(scope="session")
def environments():
    """Return the environment of a front end with all of FULL, as after construction."""
    build = functools.cache(lambda front_end: small_environment(front_end, **FULL))

    def as_new(front_end):
        env = build(front_end)
        env.use_only(None)
        env.reset(seed=0)
        return env

    return as_new


@pytest.fixture
def env(environments, front_end):
    """Return the environment of each front end in turn, as after construction."""
    return environments(front_end)


@pytest.fixture
def other(environments, front_end):
    """Return the environment of the other front end, as after construction."""
    [name] = SCRIPTS.keys() - {front_end}
    return environments(name)
