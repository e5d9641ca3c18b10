"""The files of a run: what is on the disk, and when."""

import os
import re
import tracemalloc
from pathlib import Path

import pytest

from tests.support.runs import files, files_end_at
from wrn3d import Checkpoint, WideResNetSpec, initial_weights
from wrn3d.runs.folder import Log, RunFolder
from wrn3d.system.errors import DataError
from wrn3d.training.evaluation import EvalResult


def test_lines_wait_for_room(tmp_path):
    log = Log(tmp_path / "log.csv", ("loss",))
    log.start(0)
    log.add(1, 0.5)
    with files_end_at(log.path.stat().st_size + 3):
        for iteration in (2, 3):
            with pytest.raises(ValueError, match="log.csv cannot be written"):
                log.add(iteration, 0.25)
    assert log.path.read_text() == "iteration,loss\n1,0.5\n"
    log.add(4, 0.125)
    assert log.path.read_text() == "iteration,loss\n1,0.5\n2,0.25\n3,0.25\n4,0.125\n"


@pytest.mark.parametrize(
    "line",
    [
        "2,0.5,0.8w",
        "2,0.5",
        "2,0.5,0.8,1",
        "2,,0.8",
        "2,0x5,0.8",
        " 2,1,1",
        "-2,0.5,0.8",
        "2.5,0.5,0.8",
        "\u0662,0.5,0.8",
        "9" * 5000 + ",1,1",
    ],
)
def test_lines_that_are_none_are_left_out(tmp_path, line):
    log = Log(tmp_path / "validation.csv", ("loss", "accuracy"))
    log.path.write_text(
        f"iteration,loss,accuracy\n1,0.75,0.5\n{line}\n3,nan,0.25\n", encoding="utf-8"
    )
    assert log.column("accuracy") == {1: 0.5, 3: 0.25}
    log.start(3)
    assert log.path.read_text() == "iteration,loss,accuracy\n1,0.75,0.5\n3,nan,0.25\n"


@pytest.mark.parametrize("name", ["log.csv", "validation.csv"])
def test_a_folder_where_a_log_should_be_is_named(tmp_path, name):
    (tmp_path / name).mkdir()
    with (
        RunFolder(tmp_path, resume=True) as folder,
        pytest.raises(DataError, match=f"{name} cannot be read \\(is a directory"),
    ):
        folder.start(0, validates=True)


def checkpoint_at(iteration):
    return Checkpoint(initial_weights(WideResNetSpec(10, 1), seed=0), iteration=iteration)


def test_a_checkpoint_follows_what_was_measured_before_it(tmp_path, monkeypatch):
    """Each file is flushed before it takes its place, and the folder after that."""
    path, done = tmp_path / "run", []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        fsync(descriptor)
        flushed = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        done.append(f"flush {flushed.name}")

    def noted_replace(source, target):
        replace(source, target)
        done.append(f"place {Path(target).name}")

    with RunFolder(path) as folder:
        folder.start(0, validates=True)
        folder.log.add(1, 1, 0.01, 2.5, 0.125)
        with files_end_at(100), pytest.raises(DataError, match="best.safetensors cannot be wri"):
            folder.add_validation(1, EvalResult(2.5, 0.25), checkpoint_at(1))
        # Its line would name a best checkpoint that is not there; the run knows both.
        assert folder.validations.path.read_text().count("\n") == 1
        assert folder.best()[1] == 0.25
        folder.log.add(2, 1, 0.01, 2.0, 0.25)
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "replace", noted_replace)
        folder.save(checkpoint_at(2))
    best, checkpoint = "best.safetensors", "checkpoint-00000002.safetensors"
    assert done == [
        "flush log.csv",
        "flush epochs.csv",
        f"flush {best}",
        f"place {best}",
        "flush run",
        "flush validation.csv",
        f"flush {checkpoint}",
        f"place {checkpoint}",
        "flush run",
    ]
    assert folder.best()[1] == 0.25


def test_what_is_called_a_checkpoint_and_is_none_is_passed_over(tmp_path):
    with RunFolder(tmp_path / "run", save_every=2) as folder:
        folder.start(0, validates=False)
        (folder.path / "checkpoint-00000001.safetensors").mkdir()
        (folder.path / "checkpoint-00000099.safetensors").mkdir()
        (folder.path / "checkpoint-00000098.safetensors").symlink_to("nowhere")
        folder.save(checkpoint_at(2))  # the first of them can't be removed
        newest, skipped = folder.newest()
    assert newest.iteration == 2
    assert [
        re.search(r"skipped: .*(\d\d).safetensors does not exist or is not a file", line)[1]
        for line in skipped
    ] == ["99", "98"]


def test_lines_that_a_log_lacks_are_said(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        folder.start(0, validates=False)
        for iteration in (1, 2, 4):
            folder.log.add(iteration, 1, 0.5, 0.5, 0.5)
        with pytest.warns(UserWarning, match="log.csv lacks 1 of the 4 iterations until here"):
            folder.start(4, validates=False)


def test_a_long_log_is_not_held_in_memory(tmp_path):
    log = Log(tmp_path / "log.csv", ("learning_rate", "loss", "accuracy"))
    with log.path.open("wb") as file:
        file.write(log.header)
        file.writelines(b"%d,0.1,2.302585092994046,0.1015625\n" % n for n in range(1, 300_001))
    tracemalloc.start()
    try:
        assert log.start(200_000) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    with log.path.open("rb") as file:
        assert sum(1 for line in file) == 200_001


def test_the_removal_that_a_kill_left_out_is_made_up_for(tmp_path):
    (tmp_path / "run").mkdir()
    for number in (2, 4, 6, 7, 8):
        checkpoint_at(number).save(tmp_path / f"run/checkpoint-{number:08}.safetensors")
    with RunFolder(tmp_path / "run", resume=True, save_every=2) as folder:
        for iteration in range(1, 9):
            folder.log.add(iteration, 1, 0.5, 0.5, 0.5)
        folder.start(8, validates=False)
    assert files(tmp_path / "run") == [
        *(f"checkpoint-0000000{number}.safetensors" for number in (4, 6, 8)),
        "epochs.csv",
        "log.csv",
    ]
