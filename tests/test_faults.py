"""Faults that a run meets, each injected for real."""

import math
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from tests.support.cifar_files import write_cifar10
from tests.support.environments import SCRIPTS, small_environment
from tests.support.fork_server import ROOT
from tests.support.processes import run_script, start_script
from tests.support.runs import (
    FULL,
    SMALL,
    check_whole,
    contents,
    files,
    files_end_at,
    of_importance,
    outcome,
    train,
    wait_for,
)
from wrn3d import Checkpoint
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.loop import Training
from wrn3d.system.errors import DivergedError, Stopped, UsageError, UserError
from wrn3d.system.signals import StopRequest
from wrn3d.training.config import RunConfig


def test_a_full_disk_lets_the_run_go_on_and_is_caught_up_with(tmp_path, undisturbed):
    """On a filesystem of its own that has room for one checkpoint, and later for all."""
    disk, full, later = (tmp_path / name for name in ("disk", "full", "later"))
    disk.mkdir()
    steps = f"""
        mount -t tmpfs -o size=3m tmpfs {disk}
        "$@" {disk}/run
        echo status $? >&2
        cp -r {disk}/run {full}
        mount -o remount,size=20m {disk}
        "$@" {disk}/run --resume && cp -r {disk}/run {later}"""
    script = ROOT / f"{SCRIPTS['tensorlayer']}.py"
    process = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            steps,
            "sh",
            sys.executable,
            script,
            *FULL,
            "--output",
        ],
        text=True,
        capture_output=True,
    )
    notes = [line for line in process.stderr.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2, process.stderr  # each once, for the checkpoints and for the best
    assert all(
        re.search(
            r"(are missing|lack what is) from iteration \d+ on, the run goes on: .*no "
            "space left on",
            note,
            re.IGNORECASE,
        )
        for note in notes
    )
    assert re.search("error: .*best.safetensors cannot be written .*\nstatus 1", process.stderr)
    assert "iteration 60/60" in process.stdout
    assert [
        Checkpoint.load(full / name).iteration
        for name in files(full)
        if name.startswith("checkpoint")
    ] == [7]
    assert f"resumed   {disk}/run after iteration 7" in process.stdout

    assert outcome(later, process.stdout) == outcome(*undisturbed)


def test_a_write_that_ends_in_the_middle_leaves_what_was_there(run):
    env, path = run
    train(env, path, 2)
    size = (path / "log.csv").stat().st_size
    with (
        files_end_at(size + 60),
        pytest.warns(UserWarning) as warned,
        pytest.raises(ValueError, match="log.csv cannot be written"),
    ):
        train(env, path, 6, resume=True, save_every=1, override=("save_every",))
    assert [text.split(" from iteration")[0] for text in of_importance(warned)] == [
        "checkpoints are missing",
        "log.csv lacks what is",
    ]
    assert files(path) == ["checkpoint-00000002.safetensors", "epochs.csv", "log.csv"]
    check_whole(path)
    _, results = train(env, path, 6, resume=True)
    assert [result.iteration for result in results] == [3, 4, 5, 6]
    assert (path / "log.csv").read_text().count("\n") == 7


def test_the_best_checkpoint_waits_for_room(front_end, tmp_path, monkeypatch):
    """The disk is full from a checkpoint's end until the next iteration; the last time for good."""
    env, path = small_environment(front_end, validation=300), tmp_path / "run"
    evaluate, step = env.evaluate, env.step
    train(env, tmp_path / "undisturbed", 6, save_every=2)

    with ExitStack() as disk:

        def evaluate_while_it_fills(*arguments):
            disk.enter_context(files_end_at(0))
            return evaluate(*arguments)

        def step_with_room():
            disk.close()
            return step()

        monkeypatch.setattr(env, "evaluate", evaluate_while_it_fills)
        monkeypatch.setattr(env, "step", step_with_room)
        env.reset()
        with (
            pytest.warns(UserWarning, match="validation.csv and the best .* lack") as said,
            pytest.raises(UserError, match="(best.safetensors|validation.csv) cannot be wri"),
        ):
            train(env, path, 6, save_every=2)
    assert len(of_importance(said)) == 1
    assert files(path) == files(tmp_path / "undisturbed")
    monkeypatch.undo()
    assert train(env, path, 6, save_every=2, resume=True)[1] == []
    assert contents(path) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("made", ["weights", "loss"])
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(
    run, made, monkeypatch
):
    env, path = run
    step = env.step

    def diverging():
        if made == "loss" and env.iteration == 3:
            env.set_weights({name: array * np.nan for name, array in env.get_weights().items()})
        result = step()
        if made == "weights" and env.iteration == 4:  # by the update, after the loss
            env.set_weights({name: array * np.nan for name, array in env.get_weights().items()})
        return result

    monkeypatch.setattr(env, "step", diverging)
    with pytest.raises(
        DivergedError,
        match="at iteration 4, the last finite loss was [0-9.]+: try "
        "a learning rate below 0.01 .*02.safetensors is from",
    ):
        train(env, path, 9, save_every=2)
    assert files(path) == ["checkpoint-00000002.safetensors", "epochs.csv", "log.csv"]
    newest, _ = RunFolder(path, True).newest()
    assert all(np.isfinite(array).all() for array in newest.weights.values())


def test_a_learning_rate_that_diverges_ends_with_a_sentence():
    process = run_script("keras", *SMALL, "--learning-rate", "1e30")
    assert process.returncode == 1
    assert re.fullmatch(
        r"error: the loss is nan at iteration \d, the last finite loss was .*: try "
        r"a learning rate below 1e\+30\n",
        process.stderr,
    )


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (["--output", "/dev/null/run"], 1, "/dev/null/run cannot be written"),
        (["--output", "/proc/run"], 1, "/proc/run cannot be written"),
        (["--resume"], 2, "resume, override and on_nan need the folder of the run"),
        (["--save-every", "0"], 2, "save_every is 0"),
    ],
)
def test_what_cannot_be_kept_is_said_before_the_first_iteration(arguments, status, said):
    process = run_script("keras", *SMALL, *arguments)
    assert process.returncode == status
    assert process.stderr.startswith(f"error: {said}") and process.stderr.count("\n") == 1
    assert "iteration  1/" not in process.stdout


@pytest.mark.parametrize("front_end, stopped", [("keras", 3), ("tensorlayer", 22), ("keras", 45)])
def test_after_divergence_it_goes_back_and_stays_exact(front_end, tmp_path, stopped):
    """A real divergence, before or after which the run was stopped and gone on with."""

    def environment():
        return small_environment(front_end, learning_rate=60.0, momentum=0.9, validation=300)

    env, options = environment(), {"on_nan": "restore", "save_every": 10}
    said, results = train(env, tmp_path / "undisturbed", 50, **options)
    went_back = [line for line in said if line.startswith("restored ")]
    assert re.fullmatch(
        r"restored  iteration \d+, with the learning rate times 0.5: (the loss is "
        r"\w+|weights are no longer finite) at iteration \d+, the last finite loss "
        r"was .*",
        went_back[0],
    )
    assert results[-1].iteration == 50
    assert results[-1].learning_rate == 60 * 0.5 ** len(went_back)
    rates = [
        float(line.split(",")[2])
        for line in (tmp_path / "undisturbed" / "log.csv").read_text().splitlines()[1:]
    ]
    assert len(rates) == 50 and rates == sorted(rates, reverse=True)

    folder, step = tmp_path / "stopped", env.step
    env.reset()

    def step_once_and_be_stopped():
        if env.iteration == stopped - 1:
            signal.raise_signal(signal.SIGTERM)
        return step()

    env.step = step_once_and_be_stopped
    with pytest.raises(BaseException, match=f"stopped by SIGTERM after iteration {stopped}"):
        train(env, folder, 50, **options)
    assert f"checkpoint-{stopped:08}.safetensors" in files(folder)
    train(environment(), folder, 50, resume=True, **options)
    assert contents(folder) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("every, stopped", [(4, 4), (4, 5), (9, 0)])
def test_a_stop_in_or_after_an_iteration_that_diverges(run, every, stopped):
    """At the sixth, by weights that are not finite, which only a save notices, in a run that was
    stopped after the fifth before."""
    env, path = run
    step, stops = env.step, [(5, 1.0), (6, 1.0), (stopped, 0.5)]

    def diverging():
        result = step()
        if result.iteration == 6 and env.learning_rate_scale == 1:
            env.set_weights({name: array * np.nan for name, array in env.get_weights().items()})
        if (result.iteration, env.learning_rate_scale) in stops:
            signal.raise_signal(signal.SIGTERM)
        return result

    env.step = diverging
    options = {"on_nan": "restore", "save_every": every}
    with pytest.raises(Stopped, match="stopped by SIGTERM after iteration 5 of 12: saved in"):
        train(env, path, 12, **options)
    if stopped == 5:
        stops.remove((6, 1.0))
    with pytest.raises(Stopped, match=f"stopped by SIGTERM after iteration {stopped} of 12: saved"):
        train(env, path, 12, resume=True, **options)
    regular = {stopped // every * every, stopped} - ({0} if stopped else set())
    assert files(path) == [
        *(f"checkpoint-{number:08}.safetensors" for number in sorted(regular)),
        "epochs.csv",
        "log.csv",
    ]
    newest, _ = RunFolder(path).newest()
    assert newest.iteration == stopped
    assert newest.learning_rate_scale == (1 if stopped == 4 else 0.5)
    assert (path / "log.csv").read_text().count("\n") == stopped + 1


def test_a_stop_before_the_first_iteration_leaves_no_trace(run):
    env, path = run
    stopped = path.with_name("stopped")
    with StopRequest() as stop, RunFolder(stopped, False, 2) as folder:
        config = RunConfig(**env.config.settings | {"iterations": 4}, output=stopped, save_every=2)
        training = Training(env, config, stop, folder)
        training.start()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped, match="after iteration 0 of 4: saved in"):
            list(training)
    train(env, stopped, 4, save_every=2, resume=True)
    env.reset()
    train(env, path, 4, save_every=2)
    assert contents(stopped) == contents(path)


def test_divergence_on_a_full_disk_measures_nothing_twice(front_end, tmp_path):
    """What waits for room counts as measured, also after going back."""
    env, path = small_environment(front_end, validation=300), tmp_path / "run"
    step, evaluate = env.step, env.evaluate

    def run(path):
        with ExitStack() as disk:

            def diverging():
                disk.close()
                result = step()
                if result.iteration == 3 and env.learning_rate_scale == 1:
                    return replace(result, loss=math.nan)
                return result

            def filling(*arguments):
                if path.name == "run":
                    disk.enter_context(files_end_at(0))
                return evaluate(*arguments)

            env.step, env.evaluate = diverging, filling
            env.reset()
            return train(env, path, 4, save_every=2, on_nan="restore")

    run(tmp_path / "undisturbed")
    with pytest.warns(UserWarning, match="lack what is"), pytest.raises(UserError):
        run(path)
    env.step, env.evaluate = step, evaluate
    train(env, path, 4, save_every=2, on_nan="restore", resume=True)
    assert contents(path) == contents(tmp_path / "undisturbed")


def test_a_folder_that_vanishes_ends_the_run_with_a_sentence(run):
    env, path = run
    step = env.step

    def vanishing():
        if env.iteration == 3:
            shutil.rmtree(path)
        return step()

    env.step = vanishing
    with (
        pytest.warns(UserWarning, match="the run goes on: .* cannot be written"),
        pytest.raises(UserError, match=f"{path}.*no such file or directory"),
    ):
        train(env, path, 6, save_every=2)
    assert env.iteration == 6


def test_what_always_diverges_is_given_up(run):
    env, path = run
    step = env.step
    env.step = lambda: replace(step(), loss=math.nan)
    with pytest.raises(
        DivergedError,
        match="the loss is nan at iteration 1, no loss was finite: try a learning rate below 9.76",
    ):
        train(env, path, 2, on_nan="restore")


def test_a_checkpoint_of_another_network_is_named(front_end, run):
    env, path = run
    train(env, path, 2)
    other = small_environment(front_end, widen_factor=2)
    before = contents(path)
    with pytest.raises(UsageError, match="optimizer: widen_factor was 1 and is 2; go on"):
        train(other, path, 4, resume=True)
    with pytest.raises(ValueError, match="weights for WRN-10-2 are of another network: group0"):
        other.load(path / "checkpoint-00000002.safetensors")
    assert contents(path) == before


def test_a_checkpoint_of_another_format_is_skipped_and_kept(run, monkeypatch):
    env, path = run
    train(env, path, 2)
    monkeypatch.setattr("wrn3d.training.checkpoint.FORMAT", 9)
    newer = path / "checkpoint-00000009.safetensors"
    env.save(newer)
    monkeypatch.undo()
    said, _ = train(env, path, 4, resume=True)
    assert f"skipped: {newer} is no checkpoint that can be read (its format is 9" in said[0]
    assert said[1] == f"resumed   {path} after iteration 2"
    assert newer.exists()


def test_two_runs_cannot_have_one_folder(tmp_path):
    process = start_script(
        "tensorlayer", *SMALL, "--iterations", "5000", "--output", tmp_path / "run"
    )
    try:
        wait_for(process, 50)
        second = run_script("keras", *SMALL, "--output", tmp_path / "run", "--resume")
    finally:
        process.kill()
        process.communicate()
    assert (second.returncode, second.stderr) == (
        2,
        (
            f"error: {tmp_path / 'run'} is another run's, which is going on: name another folder "
            "with "
            "--output\n"
        ),
    )


def test_data_may_disappear_while_a_run_goes_on_but_not_change_between(tmp_path):
    data_dir = tmp_path / "data"
    folder = write_cifar10(data_dir, "bin", per_file=40)
    arguments = [
        *SMALL,
        "--dataset",
        "cifar10",
        "--data-dir",
        data_dir,
        "--iterations",
        "40",
        "--save-every",
        "10",
        "--output",
    ]
    assert run_script("keras", *arguments, tmp_path / "undisturbed").returncode == 0
    process = start_script("tensorlayer", *arguments, tmp_path / "run")
    wait_for(process, 5)
    away = folder.rename(tmp_path / "away")
    assert process.communicate(timeout=60)[1] == "" and process.returncode == 0
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")

    shutil.copytree(away, folder)
    batch = folder / "data_batch_3.bin"
    content = bytearray(batch.read_bytes())
    content[5000] ^= 1
    batch.write_bytes(content)
    again = [*arguments, tmp_path / "run", "--resume", "--iterations", "41"]
    process = run_script("keras", *again)
    assert (process.returncode, process.stderr) == (
        2,
        (
            f"error: {folder} holds other data than the run in {tmp_path / 'run'} was trained on: "
            "put "
            "those back, or add --override data\n"
        ),
    )
    batch.unlink()
    process = run_script("keras", *again)
    assert process.returncode == 1
    assert re.fullmatch(f"error: {batch} cannot be used \\(no such file.*\n", process.stderr)
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")
    shutil.copy(away / batch.name, batch)
    assert "resumed " in run_script("keras", *again).stdout
