"""Environments and finished runs that several files here share."""

import warnings

import pytest

from cifar_wide_resnet_keras import CNNEnv as Keras
from tests.support.environments import small_environment
from tests.support.processes import run_script, start_script
from tests.support.runs import FULL, wait_for
from wrn3d.runs import output
from wrn3d.runs.command import main


@pytest.fixture(autouse=True)
def usual_warnings(monkeypatch):
    """Undo what `main` changes in the process that calls it."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Draw no curves in this process: they take longer than a small run."""
    monkeypatch.setattr(output, "draw", lambda runs, path: None)


@pytest.fixture(scope="session")
def environment():
    return small_environment("tensorlayer")


@pytest.fixture
def run(environment, tmp_path):
    """Return a small environment at iteration 0, and the folder for its run."""
    environment.reset()
    return environment, tmp_path / "run"


@pytest.fixture(scope="session")
def validating_environment():
    return small_environment("tensorlayer", momentum=0.9, validation=300)


@pytest.fixture
def validating_run(validating_environment, tmp_path):
    """Return the same with a validation split and momentum."""
    validating_environment.reset()
    return validating_environment, tmp_path / "run"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Return (folder, output) of an undisturbed run with the flags FULL."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    process = run_script("keras", *FULL, "--output", folder)
    assert (process.returncode, process.stderr) == (0, "")
    return folder, process.stdout


@pytest.fixture(scope="session")
def resumed(tmp_path_factory):
    """Kill such a run after 30 iterations, damage its newest checkpoint and its log, and resume it
    with the other script; return (folder, damaged checkpoint, output)."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    process = start_script("keras", *FULL, "--output", folder)
    wait_for(process, 30)
    process.kill()
    process.communicate(timeout=60)
    newest = max(folder.glob("checkpoint-*"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    (folder / ".unfinished-left").mkdir()
    with (folder / "log.csv").open("a") as file:
        file.write("31,0.0")  # an incomplete line
    process = run_script("tensorlayer", *FULL, "--mirror", "--output", folder, "--resume")
    assert (process.returncode, process.stderr) == (0, "")
    return folder, newest, process.stdout


@pytest.fixture
def command(capsys):
    """Return a function that runs a script in this process: (exit status, output, errors)."""

    def run(*flags, environment_class=Keras):
        return main(environment_class, "a script", list(map(str, flags))), *capsys.readouterr()

    return run
