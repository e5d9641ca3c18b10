"""The benchmark's command line, tiny."""
import re

import pytest

from tests.conftest import run_python

TINY = ["--depth", "10", "--widen-factor", "1", "--batch-size", "8", "--rounds", "1",
        "--iterations", "2"]


def test_every_contender_is_measured():
    process = run_python("-m", "wrn3d.benchmark", *TINY)
    assert (process.returncode, process.stderr) == (0, "")
    turns, (heading, titles, *rows) = (lambda lines: (lines[:3], lines[3:]))(
        process.stdout.splitlines())
    assert [re.match(r"turn (\d)/3  (\w+): [\d.]+ images/s", line)[1] for line in turns] == [*"123"]
    assert heading.startswith("WRN-10-1, batch 8, float32; ")
    assert titles.split() == ["contender", "images/s", "lowest", "highest", "to", "stock"]
    row_pattern = r"(.+?)( +\d+\.\d){3} +\d+\.\d\dx"
    names = [re.fullmatch(row_pattern, row)[1] for row in rows]
    assert names == ["TensorLayer", "Keras", "stock"]


@pytest.mark.parametrize("arguments, sentence", [
    (["--depth", "11"], "depth is 11"), (["--rounds", "0"], "rounds is 0"),
    (["--batch-size", "1000"], "batch_size is 1000, but must be at most 750"),
    (["--contender", "foo"], "contender is 'foo', but must be one of TensorLayer, Keras, stock"),
])
def test_a_mistake_ends_with_one_sentence(arguments, sentence):
    process = run_python("-m", "wrn3d.benchmark", *arguments)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith(f"error: {sentence}") and process.stderr.count("\n") == 1
