"""Faults that a run meets, each injected for real."""
import math
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT, SCRIPTS, environment_class, run_python, run_script, write_cifar10
from tests.runs import FULL, SMALL, check_whole, contents, files, start, train, wait_for
from wrn3d import Checkpoint, WideResNetSpec, memory
from wrn3d.config import TrainingConfig
from wrn3d.errors import DivergedError, NotEnoughMemoryError, UsageError
from wrn3d.run_folder import Log, RunFolder


def test_a_full_disk_lets_the_run_go_on_and_is_caught_up_with(tmp_path):
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
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", steps, "sh",
         sys.executable, script, *FULL, "--output"], text=True, capture_output=True)
    notes = [line for line in process.stderr.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2, process.stderr  # each once, for the checkpoints and for the best
    assert all(re.search(r"(are missing|lack what is) from iteration \d+ on, the run goes on: .*no "
                         "space left on", note, re.IGNORECASE) for note in notes)
    assert re.search("error: .*best.safetensors cannot be written .*\nstatus 1",
                     process.stderr)
    assert "iteration 60/60" in process.stdout
    assert [Checkpoint.load(full / name).iteration for name in files(full)
            if name.startswith("checkpoint")] == [7]
    assert f"resumed   {disk}/run after iteration 7" in process.stdout

    undisturbed = run_script("keras", *FULL, "--output", tmp_path / "undisturbed")
    assert contents(later) == contents(tmp_path / "undisturbed")
    assert process.stdout.splitlines()[-1] == undisturbed.stdout.splitlines()[-1]


@contextmanager
def files_end_at(size):
    """No file can be written beyond so many bytes: the kernel ends a write there in the middle, as
    on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_write_that_ends_in_the_middle_leaves_what_was_there(run):
    env, path = run
    train(env, path, 2)
    size = (path / "log.csv").stat().st_size
    with files_end_at(size + 60), pytest.warns(UserWarning) as warned, \
            pytest.raises(ValueError, match="log.csv cannot be written"):
        train(env, path, 6, resume=True, save_every=1, override=("save_every",))
    said = [str(warning.message) for warning in warned]
    assert [text.split(" from iteration")[0] for text in said] == [
        "checkpoints are missing", "log.csv lacks what is"]
    assert files(path) == ["checkpoint-00000002.safetensors", "log.csv"]
    check_whole(path)
    said, results = train(env, path, 6, resume=True)
    assert [result.iteration for result in results] == [3, 4, 5, 6]
    assert (path / "log.csv").read_text().count("\n") == 7


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


@pytest.mark.parametrize("made", ["weights", "loss"])
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(
        run, made, monkeypatch):
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
    with pytest.raises(DivergedError, match="at iteration 4, the last finite loss was [0-9.]+: try "
                                            "a learning rate below 0.01 .*02.safetensors is from"):
        train(env, path, 9, save_every=2)
    assert files(path) == ["checkpoint-00000002.safetensors", "log.csv"]
    newest, _ = RunFolder(path, True).newest()
    assert all(np.isfinite(array).all() for array in newest.weights.values())


def test_a_learning_rate_that_diverges_ends_with_a_sentence(front_end):
    process = run_script(front_end, *SMALL, "--learning-rate", "1e30")
    assert process.returncode == 1
    assert re.fullmatch(r"error: the loss is nan at iteration \d, the last finite loss was .*: try "
                        r"a learning rate below 1e\+30\n", process.stderr)


@pytest.mark.parametrize("arguments, status, said", [
    (["--output", "/dev/null/run"], 1, "/dev/null/run cannot be written"),
    (["--output", "/proc/run"], 1, "/proc/run cannot be written"),
    (["--resume"], 2, "resume, override and on_nan need the folder of the run"),
    (["--save-every", "0"], 2, "save_every is 0"),
])
def test_what_cannot_be_kept_is_said_before_the_first_iteration(arguments, status, said):
    process = run_script("keras", *SMALL, *arguments)
    assert process.returncode == status
    assert process.stderr.startswith(f"error: {said}") and process.stderr.count("\n") == 1
    assert "iteration  1/" not in process.stdout


@pytest.mark.parametrize("stopped", [3, 90])
def test_after_divergence_it_goes_back_and_stays_exact(front_end, tmp_path, stopped):
    """A real divergence, before or after which the run was stopped and gone on with."""
    def environment():
        return environment_class(front_end)(dataset="digits", depth=10, widen_factor=1,
                                            batch_size=32, learning_rate=100.0, momentum=0.9)

    options = {"on_nan": "restore", "save_every": 10}
    said, results = train(environment(), tmp_path / "undisturbed", 100, **options)
    went_back = [line for line in said if line.startswith("restored ")]
    assert re.fullmatch(r"restored  iteration \d+, with the learning rate times 0.5: (the loss is "
                        r"\w+|weights are no longer finite) at iteration \d+, the last finite loss "
                        r"was .*", went_back[0])
    assert results[-1].iteration == 100
    assert results[-1].learning_rate == 100 * 0.5 ** len(went_back)
    rates = [float(line.split(",")[1]) for line in
             (tmp_path / "undisturbed" / "log.csv").read_text().splitlines()[1:]]
    assert len(rates) == 100 and rates == sorted(rates, reverse=True)

    folder, env = tmp_path / "stopped", environment()
    step = env.step

    def step_once_and_be_stopped():
        if env.iteration == stopped - 1:
            signal.raise_signal(signal.SIGTERM)
        return step()

    env.step = step_once_and_be_stopped
    with pytest.raises(BaseException, match=f"stopped by SIGTERM after iteration {stopped}"):
        train(env, folder, 100, **options)
    assert f"checkpoint-{stopped:08}.safetensors" in files(folder)
    train(environment(), folder, 100, resume=True, **options)
    assert contents(folder) == contents(tmp_path / "undisturbed")


def test_what_always_diverges_is_given_up(run):
    env, path = run
    step = env.step
    env.step = lambda: replace(step(), loss=math.nan)
    with pytest.raises(DivergedError, match="the loss is nan at iteration 1, no loss was finite: "
                                            "try a learning rate below 9.76"):
        train(env, path, 2, on_nan="restore")


def test_a_checkpoint_of_another_network_is_named(front_end, run):
    env, path = run
    train(env, path, 2)
    other = environment_class(front_end)(dataset="digits", depth=10, widen_factor=2, batch_size=32)
    before = contents(path)
    with pytest.raises(UsageError, match="has another network: widen_factor was 1 and is 2; go on"):
        train(other, path, 4, resume=True)
    with pytest.raises(ValueError, match="weights for WRN-10-2 are of another network: group0"):
        other.load(path / "checkpoint-00000002.safetensors")
    assert contents(path) == before


def test_a_checkpoint_of_another_format_is_skipped_and_kept(run, monkeypatch):
    env, path = run
    train(env, path, 2)
    monkeypatch.setattr("wrn3d.checkpoint.FORMAT", 9)
    newer = path / "checkpoint-00000009.safetensors"
    env.save(newer)
    monkeypatch.undo()
    said, _ = train(env, path, 4, resume=True)
    assert f"skipped: {newer} is no checkpoint that can be read (its format is 9" in said[0]
    assert said[1] == f"resumed   {path} after iteration 2"
    assert newer.exists()


def test_data_may_disappear_while_a_run_goes_on_but_not_change_between(front_end, tmp_path):
    data_dir = tmp_path / "data"
    folder = write_cifar10(data_dir, "bin", per_file=40)
    arguments = [*SMALL, "--dataset", "cifar10", "--data-dir", data_dir, "--iterations", "40",
                 "--save-every", "10", "--output"]
    assert run_script(front_end, *arguments, tmp_path / "undisturbed").returncode == 0
    process = start(front_end, *arguments, tmp_path / "run")
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
    process = run_script(front_end, *again)
    assert (process.returncode, process.stderr) == (2, (
        f"error: {folder} holds other data than the run in {tmp_path / 'run'} was trained on: put "
        "those back, or add --override data\n"))
    batch.unlink()
    process = run_script(front_end, *again)
    assert process.returncode == 1
    assert re.fullmatch(f"error: {batch} cannot be used \\(no such file.*\n", process.stderr)
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")
    shutil.copy(away / batch.name, batch)
    assert "resumed " in run_script(front_end, *again).stdout


def test_two_runs_cannot_have_one_folder(front_end, tmp_path):
    process = start(front_end, *SMALL, "--iterations", "5000", "--output", tmp_path / "run")
    try:
        wait_for(process, 50)
        second = run_script(front_end, *SMALL, "--output", tmp_path / "run", "--resume")
    finally:
        process.kill()
        process.communicate()
    assert (second.returncode, second.stderr) == (2, (
        f"error: {tmp_path / 'run'} is another run's, which is going on: name another folder with "
        "--output\n"))


SPECS = st.builds(WideResNetSpec, st.sampled_from([10, 16, 28]), st.integers(1, 10),
                  st.sampled_from([0.0, 0.3]), shortcut=st.sampled_from(["pad", "projection"]))


@given(SPECS, st.integers(1, 4096), st.integers(10**6, 10**12), st.sampled_from([0.0, 0.9]))
def test_the_batch_size_that_is_named_fits_and_no_larger_one(spec, batch_size, free, momentum):
    def check(batch_size):
        config = TrainingConfig(batch_size=batch_size, momentum=momentum)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory, "available_memory", lambda: free)
            patch.setattr(memory, "resident_memory", lambda: 10**8)
            patch.setattr(memory, "has_gpu", lambda: False)
            memory.check_memory(spec, config, data_bytes=10**6)

    try:
        check(batch_size)
    except NotEnoughMemoryError as error:
        named = re.search(r"batch_size (\d+) would fit", str(error))
        if named:
            assert 0 < int(named[1]) < batch_size
            check(int(named[1]))
            with pytest.raises(NotEnoughMemoryError):
                check(int(named[1]) + 1)
        else:
            assert str(error).endswith("not even one image fits, so choose a smaller network")
            with pytest.raises(NotEnoughMemoryError):
                check(1)


def test_too_large_a_batch_is_refused_before_anything_is_built(front_end):
    process = run_script(front_end, "--dataset", "digits", "--depth", "40", "--widen-factor", "20",
                         "--batch-size", "1500")
    assert process.returncode == 1
    assert re.fullmatch(r"error: training WRN-40-20 with batches of 1500 takes about \d+\.\d\d GiB "
                        r"of memory, but \d+\.\d\d GiB are free: batch_size \d+ would fit\n",
                        process.stderr)


def test_the_estimate_is_near_what_training_takes(front_end):
    process = run_script(front_end, "--dataset", "digits", "--depth", "16", "--widen-factor", "2",
                         "--batch-size", "256", "--momentum", "0.9", "--iterations", "3")
    estimated = float(re.search(r"about (\S+) GiB at most", process.stdout)[1])
    measured = float(re.search(r"at most (\S+) GiB of memory", process.stdout)[1])
    assert 0.8 < estimated / measured < 1.25


def test_the_peak_is_the_process_own():
    """Not that of a larger one that has started it."""
    code = "from wrn3d.memory import peak_memory; print(peak_memory())"
    large = np.ones(2**27)  # 1 GiB
    assert memory.peak_memory() > large.nbytes
    assert int(run_python("-c", code).stdout) < 2**28


def test_memory_that_runs_out_is_one_sentence(run):
    import tensorflow as tf

    env, _ = run
    env.train_batch = lambda *batch: tf.zeros([1 << 24, 1 << 24])  # what TensorFlow itself raises
    with pytest.raises(NotEnoughMemoryError, match="no memory left for training with a batch of "
                                                   "32: batch_size 16 may fit"):
        env.step()
    assert (env.iteration, env.index_in_epoch) == (0, 0)
