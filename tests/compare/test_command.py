"""The comparison as a command, in real processes."""

import csv
import json
import os
import re
import signal
import time
from multiprocessing.process import BaseProcess

import pytest

from tests.support.processes import run_command, start_command
from tests.support.runs import SMALL, wait_until
from wrn3d.compare.__main__ import CompareConfig
from wrn3d.compare.comparison import Pair
from wrn3d.compare.side import Side
from wrn3d.system.errors import UsageError, UserError
from wrn3d.system.tensorflow_setup import has_fast_bfloat16

SETTINGS = {"dataset": "digits", "depth": 10, "widen_factor": 1, "batch_size": 8, "seed": 0}
TINY = [*SMALL, "--volume-size", "8", "--batch-size", "8"]


@pytest.mark.parametrize(
    "seeds, flags",
    [
        pytest.param("0", ["--evaluate", "--shards", "2"], id="one seed, in shards"),
        pytest.param(
            "01",
            ["--recipe", "fast", "--volume-size", "16", "--batch-size", "32"],
            id="two seeds of fast",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_both_scripts_are_identical_and_the_report_says_so(tmp_path, seeds, flags):
    flags = [*flags, "--dropout", "0.2", "--iterations", "3", "--seeds", str(len(seeds))]
    process = run_command("-m", "wrn3d.compare", *TINY, *flags, "--output", tmp_path)
    notes = process.stderr.splitlines()
    slow_precision = "fast" in flags and not has_fast_bfloat16()
    assert (process.returncode, len(notes)) == (0, 4 if slow_precision else 0), notes
    assert all(note.startswith("note: precision bfloat16 is ") for note in notes)
    assert process.stdout.splitlines()[-1] == "identical"
    assert " arrays are equal to the last bit" in process.stdout
    (folder,) = tmp_path.iterdir()
    pictures = {"loss.png", "accuracy.png", "speed.png"}
    tables = {"report.html", "iterations.csv", "summary.json"}
    assert {file.name for file in folder.iterdir()} == pictures | tables

    with (folder / "iterations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["iteration"]) for row in rows] == [
        (seed, str(iteration)) for seed in seeds for iteration in (1, 2, 3)
    ]
    for row in rows:
        assert row["tensorlayer_loss"] == row["keras_loss"]
        assert row["tensorlayer_accuracy"] == row["keras_accuracy"]
    assert len({row["keras_loss"] for row in rows}) == len(rows)

    summary = json.loads((folder / "summary.json").read_text())
    assert summary["verdict"] == "identical"
    loss = summary["quantities"]["test loss"]
    assert loss["TensorLayer"] == loss["Keras"] and len(set(loss["Keras"])) == len(seeds)
    assert loss.get("interval") == ([0, 0] if len(seeds) > 1 else None)
    for side in ("TensorLayer", "Keras"):
        assert min(summary["quantities"]["first step, seconds"][side]) > 0
        assert min(summary["quantities"]["peak memory, GiB"][side]) > 0

    page = (folder / "report.html").read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="(.{22})', page)
    assert addresses == ["data:image/png;base64,"] * 3  # the pictures are in the page itself
    assert "<td>group2.block0.conv1</td>" in page and ">identical</p>" in page


def test_a_killed_side_raises_a_user_error():
    with Side("Keras", SETTINGS) as side:
        side.process.kill()
        with pytest.raises(UserError, match="the Keras side ended without an answer .killed by "):
            side.step()


def test_a_side_that_neither_answers_nor_ends_is_said_to_hang(monkeypatch):
    with Side("Keras", SETTINGS) as side, monkeypatch.context() as patch:
        patch.setattr(side.process, "join", lambda timeout: None)  # as if 5 s had passed
        side.connection.close()
        with pytest.raises(UserError, match="ended without an answer .it hangs."):
            side.step()


@pytest.mark.slow
def test_a_side_killed_during_training_ends_the_other():
    with pytest.raises(UserError, match="killed by SIGKILL, out of memory"), Pair(SETTINGS) as pair:
        pair.step()
        pair.sides[1].process.kill()
        pair.step()
    assert not any(side.process.is_alive() for side in pair.sides)


def test_ctrl_c_while_a_side_starts_is_not_lost(monkeypatch):
    monkeypatch.setattr(BaseProcess, "start", lambda self: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        Side("Keras", SETTINGS)


def test_a_side_passes_on_the_user_error_of_its_process(tmp_path):
    settings = SETTINGS | {"dataset": "cifar10", "data_dir": tmp_path / "cifar"}
    (tmp_path / "cifar").write_bytes(b"a file, not a folder")
    with Side("Keras", settings) as side, pytest.raises(UserError, match="cifar"):
        side.step()


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("seeds", 0, "seeds is 0"),
        ("tolerance", -1.0, "tolerance is -1.0"),
        ("depth", 11, "depth is 11"),
    ],
)
def test_invalid_settings_are_refused(name, value, message):
    with pytest.raises(UsageError, match=message):
        CompareConfig(**{"dataset": "digits", name: value})


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--batch-size", "9999"], 2, "batch_size is 9999"),
        (["--output", "/dev/null/runs"], 1, "/dev/null/runs cannot be written"),
    ],
)
def test_a_mistake_ends_with_one_sentence(tmp_path, arguments, status, message):
    flags = [*TINY, "--output", tmp_path / "runs", *arguments]
    process = run_command("-m", "wrn3d.compare", *flags)
    assert process.returncode == status
    assert process.stderr.startswith(f"error: {message}") and process.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    "started", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["at the start", "later"]
)
def test_ctrl_c_ends_both_sides(tmp_path, started):
    folder = tmp_path / "runs"
    flags = [*TINY, "--iterations", "100000", "--output", folder]
    process = start_command("-m", "wrn3d.compare", *flags, start_new_session=True)
    if started:
        assert process.stdout.readline().startswith("seed 0")
    assert wait_until(folder.exists, process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "stopped by Ctrl-C\n")
    assert not any(folder.iterdir())
    with pytest.raises(ProcessLookupError):  # no process of the session is left
        for _ in range(1000):
            os.killpg(process.pid, 0)
            time.sleep(0.05)
