"""Command-line options and fixtures of all tests."""

import pytest

from tests.support.environments import SCRIPTS
from wrn3d.data import digits as digits_module


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=4, help="how many runs are killed")
    parser.addoption("--inputs", type=int, default=200, help="damaged files for each reader")
    parser.addoption("--minutes", type=float, default=0.05, help="minutes of each long run")


@pytest.fixture(scope="session", params=SCRIPTS)
def front_end(request):
    """Name of each front end in turn."""
    return request.param


@pytest.fixture(scope="session")
def digits():
    return digits_module.load()
