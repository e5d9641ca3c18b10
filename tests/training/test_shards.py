"""The tests of training that concern shards, again with shards."""

import pytest

from tests.support.processes import run_python

SOME = [f"tests/training/{name}.py" for name in ("in_shards", "test_initial", "test_interrupts")]
ALL = [SOME[0], "tests/training", "tests/runs/test_divergence.py"]


@pytest.mark.parametrize(
    "files",
    [pytest.param(SOME, marks=pytest.mark.slow), pytest.param(ALL, marks=pytest.mark.soak)],
    ids=["some", "all"],
)
def test_tests_of_training_pass_with_shards(files):
    flags = ["--shards", 2, "-m", "not slow and not soak", "-p", "no:cacheprovider"]
    process = run_python("-m", "pytest", *flags, *files)
    assert process.returncode == 0, process.stdout
