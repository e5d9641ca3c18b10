"""Runs that are stopped or killed, and continue to the same bytes as a run that was not."""

import re
import shutil
import signal

import pytest

from tests.support.cifar_files import write_cifar10
from tests.support.environments import small_environment
from tests.support.processes import run_script, start_script
from tests.support.runs import (
    FULL,
    SMALL,
    after_step,
    contents,
    files,
    outcome,
    small_checkpoint,
    train,
    wait_for,
)
from wrn3d.runs.folder import RunFolder
from wrn3d.system.errors import DataError, Stopped, UsageError

SIGNALS = {"tensorlayer": (signal.SIGTERM, "SIGTERM"), "keras": (signal.SIGINT, "Ctrl-C")}


def test_a_run_leaves_its_logs_and_its_last_checkpoints(undisturbed):
    folder, _ = undisturbed
    assert files(folder) == [
        "best.safetensors",
        *(f"checkpoint-000000{number}.safetensors" for number in (49, 56, 60)),
        "epochs.csv",
        "log.csv",
        "validation.csv",
    ]
    lines = (folder / "log.csv").read_text().splitlines()
    assert lines[0] == "iteration,epoch,learning_rate,loss,accuracy"
    assert [line.split(",")[0] for line in lines[1:]] == [str(n) for n in range(1, 61)]


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_bytes(front_end, tmp_path, undisturbed):
    number, name = SIGNALS[front_end]
    folder = tmp_path / "run"
    process = start_script(front_end, *FULL, "--output", folder)
    wait_for(process, 20)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    stopped = re.fullmatch(
        f"stopped by {name} after iteration (\\d+) of 60: saved in {folder}, add --resume to "
        "continue\n",
        stderr,
    )
    assert f"checkpoint-{int(stopped[1]):08}.safetensors" in files(folder)
    assert (folder / "log.csv").read_text().count("\n") == int(stopped[1]) + 1

    process = run_script(front_end, *FULL, "--output", folder, "--resume")
    assert (process.returncode, process.stderr) == (0, "")
    assert f"resumed   {folder} after iteration {stopped[1]}\n" in process.stdout
    assert outcome(folder, process.stdout) == outcome(*undisturbed)


def test_a_killed_run_resumes_past_a_damaged_checkpoint_to_the_same_bytes(resumed, undisturbed):
    folder, damaged, output = resumed
    assert f"skipped: {damaged} " in output
    assert contents(folder) == contents(undisturbed[0])
    assert undisturbed[1].splitlines()[-1] in output.splitlines()
    assert not (folder / ".unfinished-left").exists()


def test_a_finished_run_is_evaluated_again(tmp_path, undisturbed, command):
    """Resume with fewer iterations and another validation split, too."""
    path, (folder, output) = tmp_path / "run", undisturbed
    shutil.copytree(folder, path)
    best = next(line for line in output.splitlines() if line.startswith("best      iteration "))
    assert best.endswith(f"{folder}/best.safetensors")
    best, before = best.replace(str(folder), str(path)), contents(path)
    shorter = ["--iterations", "30", "--validation", "0", "--override", "validation"]
    status, output, errors = command(*FULL, "--output", path, "--resume", *shorter)
    assert (status, errors) == (0, "")
    assert output.count(f"\ndone      nothing was left to train\n{best}\n") == 1
    assert output.splitlines()[-1].startswith("test      loss ")
    assert contents(path) == before


def test_two_runs_cannot_use_one_folder(tmp_path, command):
    with RunFolder(tmp_path / "run"):
        status, _, errors = command(*SMALL, "--output", tmp_path / "run", "--resume")
    assert status == 2
    assert errors == (
        f"error: {tmp_path / 'run'} is in use by another run: name another folder with --output\n"
    )


def test_a_run_is_not_overwritten(run):
    env, path = run
    train(env, path, 2)
    before = contents(path)
    with pytest.raises(UsageError, match="already holds a run: add --resume to continue it"):
        train(env, path, 4)
    (path / "checkpoint-00000002.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match="no checkpoint in .* can be read .*checkpoint-00000002"):
        train(env, path, 4, resume=True)
    assert contents(path) == before | {"checkpoint-00000002.safetensors": b"damaged"}


def test_an_empty_folder_is_started(run):
    env, path = run
    path.mkdir()
    lines, _ = train(env, path, 1, resume=True)
    assert lines == [f"started   {path}, which had no checkpoint to resume"]


def test_settings_that_override_names_may_differ(run):
    env, path = run
    train(env, path, 2)
    other = small_environment("keras", learning_rate=0.5, seed=3)
    lines, results = train(other, path, 4, resume=True, override=("seed", "learning-rate"))
    assert lines == [f"resumed   {path} after iteration 2"]
    assert [(result.iteration, result.learning_rate) for result in results] == [(3, 0.5), (4, 0.5)]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"optimizer": "adam"}, "another network or optimizer: optimizer was 'sgd' and is 'adam'"),
        ({"widen_factor": 2}, "another network or optimizer: widen_factor was 1 and is 2; use"),
        ({"schedule": "linear"}, "other settings: schedule was 'constant' and is 'linear'; "),
        (
            {"learning_rate": 0.5, "seed": 3, "override": ("seed",)},
            "other settings: learning_rate was 0.01 and is 0.5; use the.*add --override seed "
            "learning_rate$",
        ),
        (
            {"save_every": 2, "on_nan": "restore"},
            "other settings: save_every was 100 and is 2, on_nan was 'stop' and is 'restore'; .* "
            "save_every on_nan$",
        ),
    ],
)
def test_another_run_is_refused_and_left_alone(run, settings, message):
    env, path = run
    train(env, path, 2)
    before = contents(path)
    with pytest.raises(UsageError, match=message):
        train(env, path, 4, resume=True, **settings)
    assert contents(path) == before


def test_long_settings_in_a_checkpoint_are_shortened(run):
    env, path = run
    path.mkdir()
    settings = env.config.settings | {"save_every": 100, "on_nan": "stop"}
    small_checkpoint(
        path / "checkpoint-00000007.safetensors", settings | {"dataset": "\x1b[31m" + "x" * 10**6}
    )
    with pytest.raises(UsageError) as raised:
        train(env, path, 9, resume=True)
    assert re.fullmatch(
        r"the run in .* has other settings: dataset was '.x1b\[31mx{150,250}\.\.\. and is "
        "'digits'; .*",
        str(raised.value),
    )


def test_a_checkpoint_of_another_format_is_skipped_and_kept(run, monkeypatch):
    env, path = run
    train(env, path, 2)
    monkeypatch.setattr("wrn3d.training.checkpoint.FORMAT", 9)
    newer = path / "checkpoint-00000009.safetensors"
    env.save(newer)
    monkeypatch.undo()
    lines, _ = train(env, path, 4, resume=True)
    assert f"skipped: {newer} " in lines[0] and "format is 9" in lines[0]
    assert lines[1] == f"resumed   {path} after iteration 2"
    assert newer.exists()


@pytest.mark.parametrize(
    "front_end", ["tensorlayer", pytest.param("keras", marks=pytest.mark.slow)]
)
def test_a_run_with_a_schedule_resumes_with_its_own_length_only(front_end, tmp_path, monkeypatch):
    settings = {
        "schedule": "linear",
        "warmup": 0.2,
        "optimizer": "muon",
        "momentum": 0.9,
        "averaging": 0.9,
        "augment": True,
        "cutout": 8,
        "sizes": (0.5, 1.0),
        "iterations": 8,
        "validation": 300,
    }
    env, undisturbed = small_environment(front_end, **settings), tmp_path / "undisturbed"
    train(env, undisturbed, 8)
    env.reset()
    after_step(
        monkeypatch,
        env,
        lambda result: result.iteration == 3 and signal.raise_signal(signal.SIGTERM),
    )
    with pytest.raises(Stopped):
        train(env, tmp_path / "run", 8)
    with pytest.raises(UsageError, match="other settings: iterations was 8 and is 28; use"):
        train(env, tmp_path / "run", 28, resume=True)
    env.reset()
    train(env, tmp_path / "run", 8, resume=True)
    assert contents(tmp_path / "run") == contents(undisturbed)


def test_data_may_disappear_during_a_run_but_not_change(tmp_path):
    folder, path = write_cifar10(tmp_path / "data", "bin", per_file=40), tmp_path / "run"
    batch, away = folder / "data_batch_3.bin", tmp_path / "away"

    def environment():
        return small_environment(
            "tensorlayer", dataset="cifar10", data_dir=tmp_path / "data", volume_size=16
        )

    env = environment()
    folder.rename(away)
    train(env, path, 4)
    away.rename(folder)
    before, original = contents(path), batch.read_bytes()
    batch.write_bytes(original[:5000] + bytes([original[5000] ^ 1]) + original[5001:])
    with pytest.raises(UsageError) as raised:
        train(environment(), path, 5, resume=True)
    assert str(raised.value) == (
        f"{folder} holds other data than the run in {path} was trained on: put those back, or add "
        "--override data"
    )
    batch.unlink()
    with pytest.raises(DataError, match=f"{batch} cannot be used \\(no such file"):
        environment()
    assert contents(path) == before
    batch.write_bytes(original)
    assert len(train(environment(), path, 5, resume=True)[1]) == 1
