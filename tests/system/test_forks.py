"""A fork of a process that runs TensorFlow is refused everywhere, and other forks work."""

import json

import pytest

from tests.support.environments import small_environment
from tests.support.processes import run_command

REFUSED = (
    "this process was forked from one that runs TensorFlow, and would hang: start it with "
    "multiprocessing's spawn method (gymnasium.make_vec: vector_kwargs={'context': 'spawn'})"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("forks") / "run.safetensors"
    small_environment("keras", volume_size=8, batch_size=8).save(path)
    return path


@pytest.mark.parametrize(
    "parent, expected",
    [
        ("eager", REFUSED),
        pytest.param("session", REFUSED, marks=pytest.mark.slow),
        pytest.param("environment", REFUSED, marks=pytest.mark.slow),
        pytest.param("import", "worked", marks=pytest.mark.slow),
    ],
)
def test_each_entry_in_each_fork(checkpoint, parent, expected):
    process = run_command("-m", "tests.system.forked_calls", parent, checkpoint)
    assert process.returncode == 0, process.stderr
    outcomes = json.loads(process.stdout)
    assert len(outcomes) >= 15
    assert {name: found for name, found in outcomes.items() if found != expected} == {}
