"""The commands and programs of docs/cookbook.md run as they stand, with less training."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from tests.support.processes import run_python

ROOT = Path(__file__).parents[2]
PYTHON = ".venv/bin/python"
SHORTER = {"--epochs": "1", "--folds": "2"}


def blocks(kind):
    """Return the texts of the page's code blocks of a kind."""
    text = (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{kind}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [block for _, block in found]


def commands():
    """Return the arguments of Python in the page's commands."""
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    named = [words[1:] for words in lines if words[0] == PYTHON]
    assert len(lines) == len(named) + 1 and len(named) > 9  # pip is the other one
    for words in named:
        for place, word in enumerate(words[:-1]):
            words[place + 1] = SHORTER.get(word, words[place + 1])
    return named


@pytest.mark.slow
def test_every_command_and_program_runs(tmp_path):
    for name in ("cifar_wide_resnet_tl.py", "cifar_wide_resnet_keras.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    [program] = blocks("python")
    (tmp_path / "program.py").write_text(program)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": path}}
    for words in commands():
        if "samples/arrays.safetensors" in words:  # the program saves it
            process = run_python("program.py", **options)
            assert re.fullmatch(r"validation 0\.9\d* test 0\.9\d*\n", process.stdout), process
        process = run_python(*words, **options)
        assert process.returncode == 0, (words, process.stderr)
    runs = tmp_path / "runs"
    assert (runs / "pictures" / "explained" / "0.explain.png").is_file()
    assert (runs / "scans" / "explained" / "0.explain.nii.gz").is_file()
    assert {one.name for one in (runs / "scans" / "scores").iterdir()} == {
        *("scores.json", "predictions.csv", "mistakes.png"),
        *("confusion.png", "roc.png", "reliability.png"),
    }
    scores = json.loads((runs / "cv" / "scores.json").read_text())
    assert scores["validation"]["count"] == 285 and (runs / "cv-fits" / "fold-1").is_dir()
