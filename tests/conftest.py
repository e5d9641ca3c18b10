"""Command-line options and fixtures of all tests."""

import os
import signal

import pytest

from tests.support.environments import SCRIPTS, SMALL
from wrn3d.data import digits as digits_module
from wrn3d.system.tensorflow_setup import import_tensorflow


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=4, help="how many runs are killed")
    parser.addoption("--inputs", type=int, default=200, help="damaged files for each reader")
    parser.addoption("--minutes", type=float, default=0.05, help="minutes of each long run")
    parser.addoption("--shards", type=int, default=1, help="in which small environments train")


def pytest_configure(config):
    SMALL["shards"] = config.getoption("shards")
    if SMALL["shards"] > 1:  # compute with one thread for each op, so that S = 1 is allowed, too
        os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
        import_tensorflow()
        import tensorflow as tf

        tf.zeros(1)
    # A job in the background ignores Ctrl-C, which some tests raise in this process.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", params=SCRIPTS)
def front_end(request):
    """Name of each front end in turn."""
    return request.param


@pytest.fixture(scope="session")
def digits():
    return digits_module.load()
