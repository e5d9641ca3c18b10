"""Runs that are stopped, killed, resumed, or meet a fault, as real processes."""
import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT, SCRIPTS, environment_class, run_script
from wrn3d import Checkpoint
from wrn3d.config import RunConfig
from wrn3d.errors import DivergedError, UsageError
from wrn3d.run_folder import RunFolder
from wrn3d.signals import StopRequest
from wrn3d.training import Training, starting_point

SMALL = ["--dataset", "digits", "--depth", "10", "--widen-factor", "1", "--batch-size", "32"]
FULL = [*SMALL, "--dropout", "0.3", "--momentum", "0.9", "--nesterov", "--weight-decay", "5e-4",
        "--augment", "--evaluate", "--iterations", "60", "--save-every", "7"]


def files(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def outcome(folder, process):
    """The log, the last checkpoint's arrays, and what the evaluation printed."""
    checkpoint = Checkpoint.load(folder / "checkpoint-00000060.safetensors")
    arrays = checkpoint.weights | {f"momentum of {name}": array
                                   for name, array in checkpoint.momentum.items()}
    return ((folder / "log.csv").read_text(), {name: array.tobytes() for name, array
                                               in arrays.items()},
            process.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def undisturbed(front_end, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    process = run_script(front_end, *FULL, "--output", folder)
    assert (process.returncode, process.stderr) == (0, "")
    assert files(folder) == ["checkpoint-00000049.safetensors", "checkpoint-00000056.safetensors",
                             "checkpoint-00000060.safetensors", "log.csv"]
    lines = (folder / "log.csv").read_text().splitlines()
    assert lines[0] == "iteration,learning_rate,loss,accuracy"
    assert [line.split(",")[0] for line in lines[1:]] == [str(n) for n in range(1, 61)]
    return outcome(folder, process)


def start(front_end, *arguments):
    """A running script that heeds Ctrl-C, which a job in the background ignores."""
    return subprocess.Popen(
        [sys.executable, f"{SCRIPTS[front_end]}.py", *map(str, arguments)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def wait_for(process, iteration):
    for line in process.stdout:
        if re.match(f"iteration +{iteration}/", line):
            return


@pytest.mark.parametrize("number, name", [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")],
                         ids=["SIGTERM", "Ctrl-C"])
def test_a_stopped_run_resumes_to_the_same_bits(front_end, tmp_path, undisturbed, number, name):
    folder = tmp_path / "run"
    process = start(front_end, *FULL, "--output", folder)
    wait_for(process, 20)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    stopped = re.fullmatch(f"stopped by {name} after iteration (\\d+) of 60: saved in {folder}, to "
                           "go on add --resume\n", stderr)
    assert f"checkpoint-{int(stopped[1]):08}.safetensors" in files(folder)
    assert (folder / "log.csv").read_text().count("\n") == int(stopped[1]) + 1

    process = run_script(front_end, *FULL, "--output", folder, "--resume")
    assert (process.returncode, process.stderr) == (0, "")
    assert f"resumed   {folder} after iteration {stopped[1]}\n" in process.stdout
    assert outcome(folder, process) == undisturbed


def test_a_killed_run_resumes_past_a_damaged_checkpoint_to_the_same_bits(
        front_end, tmp_path, undisturbed):
    folder = tmp_path / "run"
    process = start(front_end, *FULL, "--output", folder)
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
    other = next(name for name in SCRIPTS if name != front_end)
    process = run_script(other, *FULL, "--output", folder, "--resume")
    assert (process.returncode, process.stderr) == (0, "")
    assert re.search(f"skipped: {newest} .* it was damaged", process.stdout)
    assert outcome(folder, process) == undisturbed
    assert not (folder / ".unfinished-left").exists()


@pytest.fixture
def run(front_end, tmp_path):
    """An environment and its folder."""
    env = environment_class(front_end)(dataset="digits", depth=10, widen_factor=1, batch_size=32)
    return env, tmp_path / "run"


def train(env, path, total, **options):
    """What is said about where it starts, and the iterations' results."""
    config = RunConfig(**env.config.settings | {"iterations": total}, output=path, **options)
    with StopRequest() as stop, RunFolder(path, config.resume, config.save_every) as folder:
        checkpoint, said = starting_point(config, folder)
        training = Training(env, config, stop, folder)
        training.start(checkpoint)
        return said, list(training)


def test_a_run_that_is_there_is_not_overwritten(run):
    env, path = run
    train(env, path, 2)
    before = {name: (path / name).read_bytes() for name in files(path)}
    with pytest.raises(UsageError, match="holds a run: go on with it with --resume"):
        train(env, path, 4)
    assert {name: (path / name).read_bytes() for name in files(path)} == before


def test_two_runs_cannot_have_one_folder(run):
    env, path = run
    with RunFolder(path, False), \
            pytest.raises(UsageError, match="is another run's, which is going on"):
        train(env, path, 2, resume=True)


def test_other_settings_are_named_and_can_be_meant(front_end, run):
    env, path = run
    train(env, path, 2)
    other = environment_class(front_end)(dataset="digits", depth=10, widen_factor=1, batch_size=32,
                                         learning_rate=0.5, seed=3)
    with pytest.raises(UsageError) as raised:
        train(other, path, 4, resume=True, override=("seed",))
    said = str(raised.value)
    assert "other settings: learning_rate was 0.01 and is 0.5; go on with those" in said
    assert said.endswith("add --override seed learning_rate")
    with pytest.raises(UsageError, match="override has 'sed', but can have data, dataset,"):
        train(other, path, 4, resume=True, override=("sed",))
    said, results = train(other, path, 4, resume=True, override=("seed", "learning-rate"))
    assert said == [f"resumed   {path} after iteration 2"]
    assert [(result.iteration, result.learning_rate) for result in results] == [(3, 0.5), (4, 0.5)]


def test_a_full_disk_lets_the_run_go_on_and_the_older_checkpoint_stay(run):
    """The limit on a file's size is the kernel's own: a write ends in the middle, as on a disk
    that is full."""
    env, path = run
    train(env, path, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = (path / "log.csv").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 60, limits[1]))  # a line and a half
    try:
        with pytest.warns(UserWarning) as warned, pytest.raises(ValueError, match="too large"):
            train(env, path, 6, resume=True, save_every=1)  # the last checkpoint has to be there
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    said = [str(warning.message) for warning in warned]
    assert [text.split(" from iteration")[0] for text in said] == [
        "a checkpoint is missing", "log.csv misses iterations"]
    assert files(path) == ["checkpoint-00000002.safetensors", "log.csv"]
    assert Checkpoint.load(path / "checkpoint-00000002.safetensors").iteration == 2
    assert (path / "log.csv").read_bytes().endswith(b"\n")
    said, results = train(env, path, 6, resume=True)
    assert [result.iteration for result in results] == [3, 4, 5, 6]
    assert (path / "log.csv").read_text().count("\n") == 7


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
