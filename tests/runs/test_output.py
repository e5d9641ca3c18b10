"""Runs whose folder is temporarily or permanently not writable."""

import math
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.support.environments import SCRIPTS
from tests.support.fork_server import ROOT
from tests.support.runs import (
    FULL,
    about_writing,
    after_step,
    check_complete,
    contents,
    files,
    files_end_at,
    outcome,
    train,
)
from wrn3d import Checkpoint
from wrn3d.runs import output
from wrn3d.runs.curves import draw
from wrn3d.runs.folder import RunFolder
from wrn3d.system.errors import DataError, UserError


@pytest.mark.slow
def test_a_run_on_a_full_filesystem_continues_and_is_completed_later(tmp_path, undisturbed):
    """Give the filesystem room for one checkpoint, and later for all."""
    disk, full, later = (tmp_path / name for name in ("disk", "full", "later"))
    disk.mkdir()
    steps = f"""
        mount -t tmpfs -o size=3m tmpfs {disk}
        "$@" {disk}/run
        echo status $? >&2
        cp -r {disk}/run {full}
        mount -o remount,size=20m {disk}
        "$@" {disk}/run --resume && cp -r {disk}/run {later}"""
    shell = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", steps, "sh"]
    command = [sys.executable, ROOT / f"{SCRIPTS['tensorlayer']}.py", *FULL, "--output"]
    process = subprocess.run([*shell, *command], text=True, capture_output=True)
    notes = [line for line in process.stderr.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2, process.stderr  # one for the checkpoints, one for the best
    pattern = re.compile(
        r"cannot be written since iteration \d+, training continues: .*no space left on", re.I
    )
    assert all(pattern.search(note) for note in notes)
    assert re.search("error: .*best.safetensors cannot be written .*\nstatus 1", process.stderr)
    assert "iteration 60/60" in process.stdout
    checkpoints = [name for name in files(full) if name.startswith("checkpoint")]
    assert [Checkpoint.load(full / name).iteration for name in checkpoints] == [7]
    assert f"resumed   {disk}/run after iteration 7" in process.stdout
    assert outcome(later, process.stdout) == outcome(*undisturbed)


def test_a_write_that_is_cut_short_leaves_the_old_content(run):
    env, path = run
    train(env, path, 2)
    size = (path / "log.csv").stat().st_size
    with (
        files_end_at(size + 60),
        pytest.warns(UserWarning) as warned,
        pytest.raises(DataError, match="log.csv cannot be written"),
    ):
        train(env, path, 6, resume=True, save_every=1, override=("save_every",))
    assert [text.split(" cannot be written since")[0] for text in about_writing(warned)] == [
        "checkpoints",
        "log.csv",
    ]
    assert files(path) == ["checkpoint-00000002.safetensors", "epochs.csv", "log.csv"]
    check_complete(path)
    _, results = train(env, path, 6, resume=True)
    assert [result.iteration for result in results] == [3, 4, 5, 6]
    assert (path / "log.csv").read_text().count("\n") == 7


@pytest.mark.parametrize("diverges", [False, True])
def test_the_best_checkpoint_waits_for_room(validating_run, tmp_path, monkeypatch, diverges):
    """Fill the disk after each evaluation until the next iteration ends. The run repeats no
    evaluation, even if it goes back to an iteration whose evaluation waits for room."""
    env, path = validating_run
    evaluate, disk, options = env.evaluate, ExitStack(), {"save_every": 2, "on_nan": "restore"}

    def make_room(result):
        disk.close()
        if diverges and (result.iteration, env.learning_rate_scale) == (3, 1.0):
            return replace(result, loss=math.nan)

    def evaluate_and_fill(*arguments):
        disk.enter_context(files_end_at(0))
        return evaluate(*arguments)

    after_step(monkeypatch, env, make_room)
    train(env, tmp_path / "undisturbed", 6, **options)
    env.reset()
    monkeypatch.setattr(env, "evaluate", evaluate_and_fill)
    with (
        disk,
        pytest.warns(UserWarning, match="validation.csv and the best checkpoint can") as warned,
        pytest.raises(UserError, match="(best.safetensors|validation.csv) cannot be wri"),
    ):
        train(env, path, 6, **options)
    assert len(about_writing(warned)) == 1
    assert files(path) == files(tmp_path / "undisturbed")
    monkeypatch.setattr(env, "evaluate", evaluate)
    assert train(env, path, 6, resume=True, **options)[1] == []
    assert contents(path) == contents(tmp_path / "undisturbed")


def test_a_folder_that_is_removed_ends_the_run_with_a_sentence(run, monkeypatch):
    env, path = run
    after_step(monkeypatch, env, lambda result: result.iteration == 4 and shutil.rmtree(path))
    with (
        pytest.warns(UserWarning, match="training continues: .* cannot be written"),
        pytest.raises(UserError, match=f"{path}.*no such file or directory"),
    ):
        train(env, path, 6, save_every=2)
    assert env.iteration == 6


def test_curves_that_cannot_be_drawn_are_reported_once(run, monkeypatch):
    env, path = run
    monkeypatch.setattr(output, "draw", draw)
    monkeypatch.setattr(output, "FIRST_DRAWING", 0.0)
    monkeypatch.setattr(output, "DRAWING_SHARE", 1e9)  # draws at every checkpoint
    with (
        files_end_at(20_000),
        pytest.warns(UserWarning) as warned,
        pytest.raises(DataError, match="cannot be written"),  # the last checkpoint
    ):
        train(env, path, 40, save_every=10)
    texts = [str(warning.message) for warning in warned]
    assert len([text for text in texts if text.startswith("curves.png cannot be drawn, tr")]) == 1
    assert env.iteration == 40 and not (path / "curves.png").exists()


def test_a_run_without_iterations_draws_nothing(tmp_path):
    (tmp_path / "log.csv").write_text("iteration,epoch,learning_rate,loss,accuracy\n")
    output.RunOutput(RunFolder(tmp_path)).draw_curves(force=True)  # a warning would be an error
    assert not (tmp_path / "curves.png").exists()
