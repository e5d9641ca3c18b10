"""The best checkpoint's test score stands beside the last one's; patience ends a run early."""

import csv
import json

import pytest

from tests.support.environments import SMALL, small_environment
from tests.support.processes import run_command

FLAGS = ["--dataset", "digits", "--volume-size", 8, "--validation", 200, "--evaluate"]
FLAGS += [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", value)]


def run(script, *flags):
    process = run_command(f"cifar_wide_resnet_{script}.py", *FLAGS, *flags)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def accuracies(folder):
    with (folder / "validation.csv").open() as file:
        return {int(row["iteration"]): float(row["accuracy"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("script", [pytest.param("tl", marks=pytest.mark.slow), "keras"])
def test_the_best_checkpoint_is_tested_beside_the_last(tmp_path, script):
    folder = tmp_path / "run"
    flags = ("--iterations", 16, "--save-every", 2, "--learning-rate", 2, "--momentum", 0.9)
    lines = run(script, *flags, "--output", folder)
    scores = accuracies(folder)
    best = max(scores, key=lambda one: (scores[one], -one))
    assert best < 16  # such a learning rate makes the accuracy jump
    content = json.loads((folder / "test.json").read_text())
    assert (content["iteration"], content["best_iteration"]) == (16, best)
    settings = {"validation": 200, "volume_size": 8, "dataset": "digits", "momentum": 0.9}
    env = small_environment("keras", **settings)
    for name, file in (("test", "checkpoint-00000016"), ("best_test", "best")):
        env.load(folder / f"{file}.safetensors")
        assert content[name]["accuracy"] == env.evaluate().accuracy
    last, best_line = (line for line in lines if line.startswith("test  "))
    assert "best checkpoint" in best_line and "best checkpoint" not in last
    again = run(script, *flags, "--output", folder, "--resume")
    assert [line for line in again if line.startswith("test  ")] == [last, best_line]
    assert (folder / "checkpoint-00000016.safetensors").exists()


@pytest.mark.slow
def test_patience_ends_a_run_early_and_for_good(tmp_path):
    folder = tmp_path / "run"
    flags = ("--iterations", 200, "--save-every", 2, "--learning-rate", 0.5, "--patience", 3)
    lines = run("keras", *flags, "--output", folder)
    scores = accuracies(folder)
    best, end = max(scores, key=lambda one: (scores[one], -one)), max(scores)
    assert end == best + 6 < 200
    assert "stopped   early: 3 evaluations without a better accuracy" in lines
    assert f"done      {end} iterations in " in "\n".join(lines)
    assert json.loads((folder / "run.json").read_text())["ended"]["iterations"] == end
    again = run("keras", *flags, "--output", folder, "--resume")
    assert "done      nothing was left to train" in again and max(accuracies(folder)) == end


@pytest.mark.slow
def test_a_run_that_is_continued_has_the_patience_of_one_that_was_not(tmp_path):
    flags = ("--iterations", 200, "--save-every", 2, "--learning-rate", 0.5)
    run("keras", *flags, "--patience", 3, "--output", tmp_path / "whole")
    end = max(accuracies(tmp_path / "whole"))
    short = ("--iterations", end - 2, *flags[2:], "--patience", 3)
    run("keras", *short, "--output", tmp_path / "parts")
    run("keras", *flags, "--patience", 3, "--output", tmp_path / "parts", "--resume")
    assert accuracies(tmp_path / "parts") == accuracies(tmp_path / "whole")


def test_patience_needs_a_validation_split(tmp_path):
    flags = ["--dataset", "digits", "--volume-size", 8, "--patience", 3, *FLAGS[7:]]
    process = run_command("cifar_wide_resnet_keras.py", *flags)
    assert process.returncode == 2
    assert process.stderr.endswith(
        "error: patience needs a validation split, which digits lacks: set training images aside "
        "with --validation\n"
    )
