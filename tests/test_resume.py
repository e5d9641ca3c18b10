"""Runs that are stopped, killed and resumed."""

import re
import shutil
import signal

import pytest

from tests.support.environments import small_environment
from tests.support.processes import run_script, start_script
from tests.support.runs import (
    FULL,
    SMALL,
    contents,
    files,
    outcome,
    small_checkpoint,
    train,
    wait_for,
)
from wrn3d.system.errors import DataError, Stopped, UsageError
from wrn3d.system.signals import StopRequest

STOPS = {"tensorlayer": (signal.SIGTERM, "SIGTERM"), "keras": (signal.SIGINT, "Ctrl-C")}


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


def test_a_stopped_run_resumes_to_the_same_bits(front_end, tmp_path, undisturbed):
    number, name = STOPS[front_end]
    folder = tmp_path / "run"
    process = start_script(front_end, *FULL, "--output", folder)
    wait_for(process, 20)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    stopped = re.fullmatch(
        f"stopped by {name} after iteration (\\d+) of 60: saved in {folder}, to "
        "go on add --resume\n",
        stderr,
    )
    assert f"checkpoint-{int(stopped[1]):08}.safetensors" in files(folder)
    assert (folder / "log.csv").read_text().count("\n") == int(stopped[1]) + 1

    process = run_script(front_end, *FULL, "--output", folder, "--resume")
    assert (process.returncode, process.stderr) == (0, "")
    assert f"resumed   {folder} after iteration {stopped[1]}\n" in process.stdout
    assert outcome(folder, process.stdout) == outcome(*undisturbed)


def test_a_killed_run_resumes_past_a_damaged_checkpoint_to_the_same_bits(tmp_path, undisturbed):
    folder = tmp_path / "run"
    process = start_script("keras", *FULL, "--output", folder)
    wait_for(process, 30)
    process.kill()
    process.communicate(timeout=60)
    newest = max(folder.glob("checkpoint-*"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    (folder / ".unfinished-left").mkdir()
    with (folder / "log.csv").open("a") as file:
        file.write("31,0.0")  # half a line

    # The other script goes on with it.
    process = run_script("tensorlayer", *FULL, "--output", folder, "--resume")
    assert (process.returncode, process.stderr) == (0, "")
    assert re.search(f"skipped: {newest} .* it was damaged", process.stdout)
    assert outcome(folder, process.stdout) == outcome(*undisturbed)
    assert not (folder / ".unfinished-left").exists()


def test_a_run_that_is_there_is_not_overwritten(run):
    env, path = run
    train(env, path, 2)
    before = contents(path)
    with pytest.raises(UsageError, match="holds a run: go on with it with --resume"):
        train(env, path, 4)
    assert contents(path) == before


def test_other_settings_are_named_and_can_be_meant(front_end, run):
    env, path = run
    train(env, path, 2)
    other = small_environment(front_end, learning_rate=0.5, seed=3)
    with pytest.raises(UsageError) as raised:
        train(other, path, 4, resume=True, override=("seed",))
    said = str(raised.value)
    assert "other settings: learning_rate was 0.01 and is 0.5; go on with those" in said
    assert said.endswith("add --override seed learning_rate")
    with pytest.raises(UsageError, match="override has 'sed', but can have data, iterations"):
        train(other, path, 4, resume=True, override=("sed",))
    with pytest.raises(
        UsageError,
        match="other settings: save_every was 100 and is 2, on_nan was "
        "'stop' and is 'restore'; .* save_every on_nan$",
    ):
        train(env, path, 4, resume=True, save_every=2, on_nan="restore")
    with pytest.raises(UsageError, match="or optimizer: optimizer was 'sgd' and is"):
        train(small_environment(front_end, optimizer="adam"), path, 4, resume=True)
    with pytest.raises(UsageError, match="settings: schedule was 'constant' and is 'linear'; "):
        train(small_environment(front_end, schedule="linear"), path, 4, resume=True)
    said, results = train(other, path, 4, resume=True, override=("seed", "learning-rate"))
    assert said == [f"resumed   {path} after iteration 2"]
    assert [(result.iteration, result.learning_rate) for result in results] == [(3, 0.5), (4, 0.5)]


def test_a_run_with_a_schedule_resumes_to_the_same_bits_with_its_own_length_alone(
    front_end, tmp_path
):
    settings = {
        "schedule": "linear",
        "warmup": 0.2,
        "optimizer": "muon",
        "momentum": 0.9,
        "averaging": 0.9,
        "augment": True,
        "cutout": 8,
        "sizes": (0.5, 1.0),
        "validation": 300,
    }
    env = small_environment(front_end, iterations=14, **settings)
    step = env.step
    train(env, tmp_path / "undisturbed", 14)

    def step_and_be_stopped():
        if env.iteration == 6:
            signal.raise_signal(signal.SIGTERM)
        return step()

    env.reset()
    env.step = step_and_be_stopped
    with pytest.raises(Stopped):
        train(env, tmp_path / "run", 14)
    other = small_environment(front_end, iterations=28, **settings)
    with pytest.raises(UsageError, match="other settings: iterations was 14 and is 28; go on"):
        train(other, tmp_path / "run", 28, resume=True)
    env.step = step
    env.reset()
    train(env, tmp_path / "run", 14, resume=True)
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")


def test_what_a_checkpoint_says_is_quoted_shortly(run):
    env, path = run
    path.mkdir()
    settings = env.config.settings | {"save_every": 100, "on_nan": "stop"}
    small_checkpoint(
        path / "checkpoint-00000007.safetensors", settings | {"dataset": "\x1b[31m" + "x" * 10**6}
    )
    with pytest.raises(UsageError) as raised:
        train(env, path, 9, resume=True)
    assert re.fullmatch(
        r"the run in .* has other settings: dataset was '.x1b\[31mx{150,250}"
        r"\.\.\. and is 'digits'; .*",
        str(raised.value),
    )


def test_a_finished_run_can_be_measured_again(tmp_path, undisturbed):
    """With fewer iterations, and other images set aside."""
    path, (folder, said) = tmp_path / "run", undisturbed
    shutil.copytree(folder, path)
    best = next(line for line in said.splitlines() if line.startswith("best      iteration "))
    assert best.endswith(f"{folder}/best.safetensors")
    best, before = best.replace(str(folder), str(path)), contents(path)
    again = run_script(
        "keras",
        *FULL,
        "--output",
        path,
        "--resume",
        "--iterations",
        "30",
        "--validation",
        "0",
        "--override",
        "validation",
    )
    assert (again.returncode, again.stderr) == (0, "")
    lines = again.stdout.splitlines()
    assert "\n".join(lines).count(f"done      nothing was left to train\n{best}\n") == 1
    assert lines[-1].startswith("test      loss ")
    assert contents(path) == before


def test_a_second_signal_ends_a_process_at_once(tmp_path):
    """In the middle of an iteration that takes seconds."""
    process = start_script(
        "tensorlayer",
        *SMALL,
        "--widen-factor",
        "4",
        "--batch-size",
        "1000",
        "--iterations",
        "50",
        "--output",
        tmp_path / "run",
    )
    wait_for(process, 2)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    said = re.fullmatch(
        "stopped at once by (SIGTERM|Ctrl-C), before anything was saved: to go on add --resume\n",
        stderr,
    )
    assert process.returncode == {"SIGTERM": 143, "Ctrl-C": 130}[said[1]]
    assert files(tmp_path / "run") == ["epochs.csv", "log.csv"]


def test_a_second_ctrl_c_stops_at_once():
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job has none
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.number == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, earlier)


def test_a_run_of_which_no_checkpoint_is_whole_is_left_as_it_is(run):
    env, path = run
    train(env, path, 2)
    (path / "checkpoint-00000002.safetensors").write_bytes(b"damaged")
    before = contents(path)
    with pytest.raises(DataError, match="none of the 1 checkpoints in .* can be read"):
        train(env, path, 4, resume=True)
    assert contents(path) == before


def test_a_validation_split_that_lacks_a_class_has_no_auc(tmp_path):
    env = small_environment("keras", validation=3, best_by="auc")
    with pytest.raises(UsageError, match="the validation split of digits lacks a class, so there"):
        train(env, tmp_path / "run", 4)
    assert not (tmp_path / "run" / "log.csv").exists()
