"""Runs that several files here look at or continue."""

import warnings

import pytest

from tests.support.environments import small_environment
from tests.support.processes import run_script
from tests.support.runs import FULL


@pytest.fixture(autouse=True)
def usual_warnings(monkeypatch):
    """Undo what `main` changes in the process that calls it."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)


@pytest.fixture(scope="session")
def environment():
    return small_environment("tensorlayer")


@pytest.fixture
def run(environment, tmp_path):
    """A small environment at iteration 0, and the folder for its run."""
    environment.reset()
    return environment, tmp_path / "run"


@pytest.fixture(scope="session")
def validating_environment():
    return small_environment("tensorlayer", momentum=0.9, validation=300)


@pytest.fixture
def validating_run(validating_environment, tmp_path):
    """The same with a validation split and momentum."""
    validating_environment.reset()
    return validating_environment, tmp_path / "run"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """(folder, output) of a run with the flags FULL that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    process = run_script("keras", *FULL, "--output", folder)
    assert (process.returncode, process.stderr) == (0, "")
    return folder, process.stdout


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """(folder, output) of a run of two epochs, 36 iterations, that was resumed after 20 of them by
    the other script."""
    folder = tmp_path_factory.mktemp("finished") / "digits"
    flags = [*FULL, "--batch-size", "64", "--mirror", "--output", folder]
    first = run_script("tensorlayer", *flags, "--iterations", "20")
    second = run_script("keras", *flags, "--resume", "--epochs", "2")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    return folder, second.stdout
