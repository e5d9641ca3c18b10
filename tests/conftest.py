"""Command-line options and fixtures of all tests."""

import pytest

from tests.support.environments import SCRIPTS
from wrn3d.data import digits as digits_module


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=4, help="number of times that runs are killed")
    parser.addoption("--inputs", type=int, default=200, help="damaged files for each reader")
    parser.addoption("--workers", default="2", help="numbers of workers, such as 2,3,4")
    parser.addoption("--minutes", type=float, default=0.05, help="length of each long run")


def pytest_generate_tests(metafunc):
    if "worker_count" in metafunc.fixturenames:
        counts = metafunc.config.getoption("--workers").split(",")
        metafunc.parametrize("worker_count", list(map(int, counts)))


@pytest.fixture(scope="session", params=SCRIPTS)
def front_end(request):
    """Name of each front end in turn."""
    return request.param


@pytest.fixture(scope="session")
def digits():
    return digits_module.load()
