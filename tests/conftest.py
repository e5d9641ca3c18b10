"""What the tests share: real command lines as processes, and files in CIFAR's formats."""

import pytest

from tests.support.environments import SCRIPTS, small_environment
from tests.support.processes import run_script
from tests.support.runs import FULL
from wrn3d.data import digits as digits_module


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=4, help="how often runs are killed")
    parser.addoption("--inputs", type=int, default=200, help="how many files a reader is tried on")
    parser.addoption("--workers", default="2", help="how many workers are tried, such as 2,3,4")
    parser.addoption("--minutes", type=float, default=0.05, help="of each long run")


def pytest_generate_tests(metafunc):
    if "worker_count" in metafunc.fixturenames:
        counts = metafunc.config.getoption("--workers").split(",")
        metafunc.parametrize("worker_count", list(map(int, counts)))


@pytest.fixture(scope="session", params=SCRIPTS)
def front_end(request):
    """Each front end's name in turn."""
    return request.param


@pytest.fixture(scope="session")
def digits():
    return digits_module.load()


@pytest.fixture(scope="session")
def environment(front_end):
    return small_environment(front_end)


@pytest.fixture
def run(environment, tmp_path):
    """A small environment, as new, and its folder."""
    for name in ("step", "evaluate"):  # where a test has put another in its place
        vars(environment).pop(name, None)
    environment.reset()
    return environment, tmp_path / "run"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """(the folder of a run that nothing befell, what it printed)."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    process = run_script("keras", *FULL, "--output", folder)
    assert (process.returncode, process.stderr) == (0, "")
    return folder, process.stdout
