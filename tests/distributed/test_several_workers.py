"""Several workers train as one does, and end together."""

import os
import random
import re
import signal
import socket
import subprocess
import time
from contextlib import suppress

import numpy as np
import pytest
from filelock import FileLock

from tests.distributed.processes import (
    SECONDS_TO_NOTICE,
    start_training,
    start_workers,
    tf_config,
    trained_arrays,
)
from tests.distributed.worker_run import training_arrays
from tests.support.environments import SCRIPTS, environment_class, small_environment
from tests.support.processes import finished, start_python, start_script
from tests.support.runs import FULL, SMALL, contents, wait_for, wait_until
from wrn3d.distributed.peers import split_address
from wrn3d.launch.resources import free_ports
from wrn3d.runs.folder import LOCK, RunFolder
from wrn3d.system.errors import WorkerError

SETTINGS = {"dataset": "digits", "volume_size": 8, "depth": 10, "widen_factor": 1}
UNEVEN = SETTINGS | {
    "batch_size": 31,
    "dropout": 0.2,
    "augment": True,
    "learning_rate": 0.01,
    "weight_decay": 5e-4,
}


def difference(run, other, kind):
    """Return the relative Euclidean distance between all arrays of a kind, taken as one."""
    a, b = (
        np.concatenate([arrays[name].ravel() for name in other if name.startswith(kind)])
        for arrays in (run, other)
    )
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize(
    "count, front_end, source",
    [
        (2, "keras", "SLURM"),
        pytest.param(2, "tensorlayer", "TF_CONFIG", marks=pytest.mark.slow),
        *(
            pytest.param(count, front_end, "TF_CONFIG", marks=pytest.mark.soak)
            for count in (3, 4)
            for front_end in SCRIPTS
        ),
    ],
)
def test_several_workers_compute_what_one_does(count, front_end, source, tmp_path):
    """Compare up to rounding, because several workers add in another order. A run of one worker
    whose first kernel starts one unit in the last place higher shows how much may differ."""
    path, iterations = tmp_path / "several.npz", 10
    workers = start_training(count, front_end, path, iterations, UNEVEN, source)
    env = environment_class(front_end)(**UNEVEN)
    weights = env.get_weights()
    one = training_arrays(env, iterations)
    env.reset()
    env.set_weights(weights | {"conv0": np.nextafter(weights["conv0"], np.float32(np.inf))})
    nudged = training_arrays(env, iterations)
    several = trained_arrays(workers, path)

    assert several["loss"][0] == pytest.approx(one["loss"][0], rel=3e-7)
    assert np.array_equal(several["batch_size"], one["batch_size"])
    assert several["accuracy"][:5] == pytest.approx(one["accuracy"][:5], abs=1e-7)
    for kind in ("loss", "weights/"):
        assert 0 < difference(several, one, kind) < 10 * difference(nudged, one, kind), kind
    # Rounding moves some inputs of ReLU across zero, which adds or removes terms of gradients.
    assert difference(several, one, "gradient/") < 5e-3
    assert difference(several, one, "gradient/fc") < 1e-5
    env.set_weights({name: several[f"weights/{name}"] for name in weights})
    predictions = env.predict_split().log_probabilities
    assert predictions == pytest.approx(several["predictions"], abs=1e-4)


@pytest.mark.slow
def test_local_batch_norm_covers_each_workers_rows(tmp_path):
    path, settings = tmp_path / "local.npz", SETTINGS | {"batch_size": 32, "batch_norm": "local"}
    workers = start_training(2, "tensorlayer", path, 1, settings)
    env = small_environment("tensorlayer", **SETTINGS)
    images, labels = env.next_batch(32)
    halves = []
    for rows in (slice(0, 16), slice(16, 32)):
        env.reset()
        result = env.step(images[rows], labels[rows])
        halves.append((result.loss, env.get_weights()))
    several = trained_arrays(workers, path)
    assert several["loss"][0] == pytest.approx(np.mean([loss for loss, _ in halves]), rel=1e-6)
    for name in [name for name in env.get_weights() if ".running_" in name]:
        mean = np.mean([weights[name] for _, weights in halves], axis=0)
        assert several[f"weights/{name}"] == pytest.approx(mean, rel=1e-5, abs=1e-6), name


def test_workers_with_different_settings_are_refused():
    script = f"{SCRIPTS['keras']}.py"
    for worker in start_workers([[script, *SMALL, "--seed", seed] for seed in range(2)]):
        worker = finished(worker)
        assert worker.returncode == 2
        assert "the workers have different settings or data" in worker.stderr


def test_when_a_worker_is_killed_the_other_ends_with_one_sentence():
    script = [f"{SCRIPTS['tensorlayer']}.py", *SMALL, "--iterations", "3000"]
    first, second = start_workers([script] * 2)
    with second:
        wait_for(first, 30)
        second.kill()
    start = time.monotonic()
    first = finished(first)
    assert time.monotonic() - start < SECONDS_TO_NOTICE
    assert first.returncode == WorkerError.exit_status
    assert re.fullmatch(
        r"error: worker 0 cannot continue without worker 1 \(127\.0\.0\.1:\d+\), which was lost or "
        "does not answer: start all workers again, .*\n",
        first.stderr,
    )


@pytest.mark.slow
def test_a_signal_ends_a_worker_that_waits_for_one_that_hangs():
    script = [f"{SCRIPTS['keras']}.py", *SMALL, "--iterations", "3000"]
    first, second = start_workers([script] * 2)
    with second:
        wait_for(first, 30)
        second.send_signal(signal.SIGSTOP)
        first.send_signal(signal.SIGTERM)
        first = finished(first)
        second.kill()
    assert first.returncode == 128 + signal.SIGTERM, first.stderr
    assert re.fullmatch(
        r"stopped by SIGTERM while waiting for worker 1 \(127\.0\.0\.1:\d+\): start all .*\n",
        first.stderr,
    )


@pytest.mark.slow
@pytest.mark.parametrize("number, name", [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_ends_a_worker_whose_others_never_start(number, name):
    first, second = (f"127.0.0.1:{port}" for port in free_ports(2))
    worker = start_script("keras", *SMALL, env=os.environ | tf_config([first, second], 0))

    def listens():
        with suppress(OSError), socket.create_connection(split_address(first), 1):
            return True

    assert wait_until(listens, worker, pause=0.1)
    worker.send_signal(number)
    worker = finished(worker)
    assert worker.returncode == 128 + number
    assert f"stopped by {name}" in worker.stderr and f"worker 1 ({second})" in worker.stderr


def launch(front_end, *arguments, workers=2, restarts=0, **options):
    flags = ["-n", workers, "--restarts", restarts, f"{SCRIPTS[front_end]}.py", *arguments]
    return start_python("-m", "wrn3d.launch", *flags, **options)


@pytest.mark.slow
def test_all_stop_after_the_same_iteration_and_one_alone_continues(tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    options = [*SMALL, "--momentum", "0.9", "--nesterov", "--output", folder]
    with log.open("w") as output:
        process = launch(
            "tensorlayer", *options, "--iterations", "3000", stdout=output, stderr=output
        )
    assert wait_until(lambda: "iteration   60/" in log.read_text(), process, pause=0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    lines = [line for line in log.read_text().splitlines() if "stopped" in line]
    assert len(lines) == 1 and lines[0].startswith("[0] stopped by SIGTERM after iteration ")
    stopped = int(lines[0].split("after iteration ")[1].split()[0])
    alone = finished(start_script("tensorlayer", *options, "--iterations", stopped + 3, "--resume"))
    assert alone.returncode == 0, alone.stderr
    assert f"after iteration {stopped}" in alone.stdout
    assert f"{stopped + 3}/{stopped + 3}" in alone.stdout


@pytest.mark.slow
def test_when_the_launcher_is_killed_the_workers_end_and_leave_the_folder(tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    with log.open("w") as output:
        process = launch(
            "keras",
            *SMALL,
            "--output",
            folder,
            "--iterations",
            "3000",
            stdout=output,
            stderr=output,
        )
    assert wait_until(lambda: "iteration   30/" in log.read_text(), process, pause=0.1)
    process.kill()
    process.wait()
    with FileLock(folder / LOCK, timeout=10):
        pass


def workers_of(launcher):
    """Return the process ids of a launcher's workers, in order."""
    command = ["pgrep", "-P", str(launcher.pid), "--full", "cifar_"]  # not the launcher's watchdog
    pids = subprocess.run(command, capture_output=True, text=True)
    return [int(pid) for pid in pids.stdout.split()]


def disturb(front_end, folder, log, number, draw, restarts=0):
    """Send a signal to one worker of a run after some iterations; return the launcher's exit
    status and the seconds until it ended."""
    trained = max(RunFolder(folder).log.column("loss"), default=0)
    with log.open("w") as output:
        process = launch(
            front_end,
            *[*FULL, "--output", folder, *(["--resume"] if folder.exists() else [])],
            restarts=restarts,
            stdout=output,
            stderr=output,
        )
    iteration = trained + draw.randrange(1, 25)
    try:
        wait_until(lambda: f"iteration {iteration:2}/" in log.read_text(), process, pause=0.01)
        time.sleep(draw.uniform(0, 0.2))  # at any point of an iteration
        with suppress(IndexError, ProcessLookupError):  # it may just have ended
            os.kill(workers_of(process)[draw.randrange(2)], number)
        start = time.monotonic()
        return process.wait(300), time.monotonic() - start
    finally:
        for pid in (*workers_of(process), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed_pair(tmp_path_factory):
    """Return the folder and the output of an undisturbed run of two workers."""
    folder = tmp_path_factory.mktemp("workers") / "undisturbed"
    process = finished(launch("keras", *FULL, "--output", folder))
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr and "WARNING" not in process.stderr
    return folder, process.stdout


@pytest.mark.slow
def test_only_the_first_worker_prints_and_saves(undisturbed_pair):
    folder, output = undisturbed_pair
    lines = output.splitlines()
    assert all(line.startswith("[0] ") for line in lines)
    assert any(line.startswith("[0] workers   2, this one") for line in lines)
    assert lines[-1].startswith("[0] test      loss ")
    assert "checkpoint-00000060.safetensors" in contents(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "front_end, number", [("tensorlayer", signal.SIGKILL), ("keras", signal.SIGSTOP)]
)
def test_a_run_that_loses_a_worker_is_restarted_to_the_same_bits(
    front_end, number, tmp_path, undisturbed_pair
):
    folder, log = tmp_path / "run", tmp_path / "log"
    status, _ = disturb(front_end, folder, log, number, random.Random(number), restarts=1)
    assert status == 0, log.read_text()
    assert "restarted 2 workers" in log.read_text() and "Traceback" not in log.read_text()
    assert contents(folder) == contents(undisturbed_pair[0])


PATIENT = ["--validation", "200", "--save-every", "2", "--learning-rate", "0.5", "--iterations"]


@pytest.mark.slow
def test_two_workers_lose_patience_together_also_after_resuming(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = [*SMALL, *PATIENT, "200", "--patience", "3", "--evaluate"]
    process = finished(launch("keras", *flags, "--output", whole))
    assert process.returncode == 0, process.stderr
    assert "stopped   early: 3 evaluations without a better accuracy" in process.stdout
    end = int(max(RunFolder(whole).validations.column("accuracy")))
    short = [*SMALL, *PATIENT, str(end - 4), "--patience", "3"]
    assert finished(launch("keras", *short, "--output", parts)).returncode == 0
    process = finished(launch("keras", *flags, "--output", parts, "--resume"))
    assert process.returncode == 0, process.stderr
    assert "done      4 iterations in " in process.stdout
    texts = [(folder / "validation.csv").read_text() for folder in (parts, whole)]
    assert texts[0] == texts[1]
    assert "best checkpoint" in process.stdout


@pytest.mark.slow
def test_only_the_first_worker_needs_the_weights_to_start_from(tmp_path):
    env = small_environment("keras", **SETTINGS)
    env.save(tmp_path / "first.safetensors")
    flags = [*SMALL, "--iterations", "2", "--init", tmp_path / "first.safetensors"]
    process = finished(launch("tensorlayer", *flags, "--output", tmp_path / "run"))
    assert process.returncode == 0, process.stderr
    assert f"init      weights of {tmp_path / 'first.safetensors'}" in process.stdout
    (tmp_path / "first.safetensors").unlink()  # a run that goes on has its own weights
    again = [*SMALL, "--iterations", "3", "--init", tmp_path / "first.safetensors"]
    process = finished(launch("tensorlayer", *again, "--output", tmp_path / "run", "--resume"))
    assert process.returncode == 0, process.stderr
