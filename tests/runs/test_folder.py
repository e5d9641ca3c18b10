"""The files in the folder of a run, and the order in which they are written."""

import os
import re
from math import nan
from pathlib import Path

import numpy as np
import pytest

from tests.support.runs import files, files_end_at
from wrn3d import Checkpoint, WideResNetSpec, initial_weights
from wrn3d.runs.folder import RunFolder, best_iteration
from wrn3d.system.errors import DataError
from wrn3d.training.evaluation import EvalResult


def checkpoint_at(iteration):
    return Checkpoint(initial_weights(WideResNetSpec(10, 1), seed=0), iteration=iteration)


def log_iterations(folder, *iterations):
    for iteration in iterations:
        folder.log.buffer(iteration, 1, 0.5, 0.5, 0.5)
    folder.log.write()


def test_logs_are_on_the_disk_before_a_checkpoint(tmp_path, monkeypatch):
    """Check that each file is synced before it gets its name, and the folder after that."""
    path, done = tmp_path / "run", []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        fsync(descriptor)
        done.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")

    def noted_replace(source, target):
        replace(source, target)
        done.append(f"place {Path(target).name}")

    with RunFolder(path) as folder:
        folder.start(0, validates=True)
        log_iterations(folder, 1)
        with files_end_at(100), pytest.raises(DataError, match="best.safetensors cannot be wri"):
            folder.add_validation(1, EvalResult(2.5, 0.25), checkpoint_at(1))
        # A line on the disk would name a missing best checkpoint; both wait in memory.
        assert folder.validations.path.read_text().count("\n") == 1
        assert folder.best()[1] == 0.25
        log_iterations(folder, 2)
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "replace", noted_replace)
        folder.save(checkpoint_at(2))
    best, checkpoint = "best.safetensors", "checkpoint-00000002.safetensors"
    assert done == [
        "flush log.csv",
        "flush epochs.csv",
        "flush times.csv",
        *(f"flush {best}", f"place {best}", "flush run"),
        "flush validation.csv",
        *(f"flush {checkpoint}", f"place {checkpoint}", "flush run"),
    ]
    assert folder.best()[1] == 0.25


def test_folders_and_links_named_like_checkpoints_are_skipped(tmp_path):
    with RunFolder(tmp_path / "run", save_every=2) as folder:
        folder.start(0, validates=False)
        (folder.path / "checkpoint-00000001.safetensors").mkdir()
        (folder.path / "checkpoint-00000099.safetensors").mkdir()
        (folder.path / "checkpoint-00000098.safetensors").symlink_to("nowhere")
        folder.save(checkpoint_at(2))  # cannot remove the first of them
        newest, skipped = folder.newest()
    assert newest.iteration == 2
    pattern = re.compile(r"skipped: \S*-000000(\d\d).safetensors does not exist or is not a file")
    assert [pattern.match(line)[1] for line in skipped] == ["99", "98"]


def test_missing_lines_of_a_log_are_reported(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        folder.start(0, validates=False)
        log_iterations(folder, 1, 2, 4)
        with pytest.warns(UserWarning, match="log.csv has no line for 1 of the first 4 iterations"):
            folder.start(4, validates=False)


def test_old_checkpoints_that_a_killed_run_left_are_removed(tmp_path):
    (tmp_path / "run").mkdir()
    for number in (2, 4, 6, 7, 8):
        checkpoint_at(number).save(tmp_path / f"run/checkpoint-{number:08}.safetensors")
    with RunFolder(tmp_path / "run", resume=True, save_every=2) as folder:
        log_iterations(folder, *range(1, 9))
        folder.start(8, validates=False)
    assert files(tmp_path / "run") == [
        *(f"checkpoint-0000000{number}.safetensors" for number in (4, 6, 8)),
        "epochs.csv",
        "log.csv",
    ]


def test_the_best_iteration_is_the_first_of_equal_scores():
    assert best_iteration({2: 0.5, 4: 0.7, 6: np.nextafter(0.7, 1), 8: nan}) == 4
    assert best_iteration({2: nan, 4: -1.0}) == 4
    assert best_iteration({2: nan}) is None and best_iteration({}) is None
