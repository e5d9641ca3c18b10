"""What the tests share: real command lines as processes, and files in CIFAR's formats."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fork_server import ROOT, ForkedProcess
from tests.runs import FULL
from wrn3d.data import digits as digits_module

SCRIPTS = {"tensorlayer": "cifar_wide_resnet_tl", "keras": "cifar_wide_resnet_keras"}
FROM_ANYWHERE = os.environ | {"PYTHONPATH": str(ROOT)}  # finds the project's modules
PIPED = {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=4, help="how often runs are killed")
    parser.addoption("--inputs", type=int, default=200, help="how many files a reader is tried on")
    parser.addoption("--workers", default="2", help="how many workers are tried, such as 2,3,4")
    parser.addoption("--minutes", type=float, default=0.05, help="of each long run")


def pytest_generate_tests(metafunc):
    if "worker_count" in metafunc.fixturenames:
        counts = metafunc.config.getoption("--workers").split(",")
        metafunc.parametrize("worker_count", list(map(int, counts)))


@pytest.fixture(scope="session", params=SCRIPTS)
def front_end(request):
    """Each front end's name in turn."""
    return request.param


@pytest.fixture(scope="session")
def digits():
    return digits_module.load()


@pytest.fixture(scope="session")
def environment(front_end):
    return small_environment(front_end)


@pytest.fixture
def run(environment, tmp_path):
    """A small environment, as new, and its folder."""
    for name in ("step", "evaluate"):  # where a test has put another in its place
        vars(environment).pop(name, None)
    environment.reset()
    return environment, tmp_path / "run"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """(the folder of a run that nothing befell, what it printed)."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    process = run_script("keras", *FULL, "--output", folder)
    assert (process.returncode, process.stderr) == (0, "")
    return folder, process.stdout


def environment_class(front_end):
    return getattr(__import__(SCRIPTS[front_end]), "CNNEnv")  # noqa: B009


def small_environment(front_end, **settings):
    data = {} if "dataset" in settings else {"dataset": "digits", "volume_size": 16}
    return environment_class(front_end)(
        **data | {"depth": 10, "widen_factor": 1, "batch_size": 32} | settings
    )


def start_python(*arguments, **options):
    """A running process of this Python that heeds Ctrl-C, which a job in the background ignores."""
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.Popen([sys.executable, *map(str, arguments)], **PIPED | heeding | options)


def start_command(*arguments, **options):
    """A running command line of the project, which on Linux has TensorFlow already: (script, flags)
    or ("-m", module, flags)."""
    if sys.platform != "linux":
        return start_python(*arguments, **options)
    return ForkedProcess([*map(str, arguments)], **PIPED | options)


def run_python(*arguments, **options):
    """A finished process of this Python in the project's folder, its output as text."""
    return finished(start_python(*arguments, **options))


def run_command(*arguments, **options):
    """A finished command line of the project."""
    return finished(start_command(*arguments, **options))


def finished(process):
    """What it returned and printed; it is killed after five minutes."""
    with process:
        try:
            output, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start_script(front_end, *arguments, **options):
    return start_command(f"{SCRIPTS[front_end]}.py", *arguments, **options)


def run_script(front_end, *arguments, **options):
    return run_command(f"{SCRIPTS[front_end]}.py", *arguments, **options)


def digit_pixels(rows, num_classes=10):
    """Real images and labels in CIFAR's planar form: ((N, 3072) uint8, (N,) uint8)."""
    data = digits_module.load()
    images = data.train_volumes[rows, 0].transpose(0, 3, 1, 2).reshape(len(rows), -1)
    return images, (data.train_labels[rows] % num_classes).astype(np.uint8)


def write_cifar10(data_dir, layout, per_file=20):
    """CIFAR-10's files in `layout` ("bin" or "py"), of digits, `per_file` images in each."""
    folder = Path(data_dir) / f"cifar-10-batches-{layout}"
    folder.mkdir(parents=True)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    classes = [f"class{number}".encode() for number in range(10)]
    for number, name in enumerate(names):
        pixels, labels = digit_pixels(np.arange(number * per_file, (number + 1) * per_file))
        if layout == "bin":
            (folder / f"{name}.bin").write_bytes(np.hstack([labels[:, None], pixels]).tobytes())
        else:
            batch = {
                b"batch_label": name.encode(),
                b"labels": labels.tolist(),
                b"data": pixels,
                b"filenames": [b"%d.png" % row for row in range(per_file)],
            }
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    if layout == "bin":
        (folder / "batches.meta.txt").write_bytes(b"\n".join(classes) + b"\n\n")
    else:
        (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": classes}, protocol=2))
    return folder


def write_cifar100(data_dir, layout, test_count=12):
    """CIFAR-100's files in `layout` ("bin" or "py"), of digits."""
    folder = Path(data_dir) / ("cifar-100-binary" if layout == "bin" else "cifar-100-python")
    folder.mkdir(parents=True)
    names = [f"class{number}".encode() for number in range(100)]
    for split, start, count in (("train", 0, 5 * test_count), ("test", 500, test_count)):
        pixels, coarse = digit_pixels(np.arange(start, start + count))
        fine = (coarse * 10 + np.arange(count, dtype=np.uint8) % 10).astype(np.uint8)
        if layout == "bin":
            records = np.hstack([coarse[:, None], fine[:, None], pixels])
            (folder / f"{split}.bin").write_bytes(records.tobytes())
        else:
            batch = {
                b"coarse_labels": coarse.tolist(),
                b"fine_labels": fine.tolist(),
                b"data": pixels,
            }
            (folder / split).write_bytes(pickle.dumps(batch, protocol=2))
    if layout == "bin":
        (folder / "fine_label_names.txt").write_bytes(b"\n".join(names))
    else:
        (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}, protocol=2))
    return folder
