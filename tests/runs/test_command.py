"""The command lines of the scripts: what they print, and how they end."""

import fcntl
import os
import pty
import re
import signal
import struct
import termios

import pytest

from tests.support.cifar_files import write_cifar10
from tests.support.environments import SCRIPTS, environment_class
from tests.support.processes import run_python, run_script, start_script
from tests.support.runs import SMALL

UNREACHABLE = dict.fromkeys(
    ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
)
LINE = re.compile(
    r"iteration +(\d+)/(\d+)  loss (\d+\.\d{6})  accuracy ([01]\.\d{4})  \d+\.\d images/s"
)


def test_both_scripts_print_the_same_lines(command):
    printed = []
    for front_end in SCRIPTS:
        status, output, errors = command(
            *SMALL, "--evaluate", environment_class=environment_class(front_end)
        )
        assert (status, errors) == (0, "")
        lines = output.splitlines()
        check_lines(lines)
        printed.append(([LINE.match(line).groups() for line in lines[6:16]], lines[17:]))
    assert printed[0] == printed[1]


def check_lines(lines):
    """Check what a run prints of its settings, iterations and results."""
    assert lines[0] == "network   WRN-10-1, pad shortcut, dropout 0: 223,610 parameters"
    assert lines[1].startswith("data      digits from scikit-learn")
    assert "1,500 training and 297 test volumes of 1x16x16x3 (D, H, W, C), 10 classes" in lines[1]
    assert "10 iterations" in lines[2] and "batch size 32" in lines[2]
    assert re.search(r"tensorflow 2\.\d+\.\d+, tensorlayer 2\.\S+, keras 3\.\S+, numpy", lines[3])
    assert re.match(r"device    (CPU|\d+ GPU) \(", lines[4])
    assert re.fullmatch(r"memory    about 0\.\d\d GiB at most, \d+\.\d\d GiB are free", lines[5])
    assert [LINE.fullmatch(line)[1] for line in lines[6:16]] == [str(n) for n in range(1, 11)]
    assert re.match(r"done      10 iterations in .* s, median .* images/s, at most ", lines[16])
    assert re.fullmatch(r"test      loss \d\.\d{6}  accuracy \d\.\d{4}  \(297 images\)", lines[-1])
    assert len([line for line in lines if line.startswith("| ")]) == 1 + 10  # the classes
    assert len(lines) == 32


def test_epochs_decide_the_length_and_changed_settings_are_printed(command):
    flags = (
        "--batch-size 500 --epochs 2 --momentum 0.9 --nesterov --weight-decay 5e-4 --augment "
        "--dropout 0.3 --shortcut projection --seed 3"
    )
    lines = command(*SMALL, *flags.split())[1].splitlines()
    assert lines[0].startswith("network   WRN-10-1, projection shortcut, dropout 0.3: ")
    assert lines[2].endswith(
        " 6 iterations (2 epochs), volume size 16, batch size 500, learning rate 0.01, momentum "
        "0.9, nesterov, weight decay 0.0005, augment, seed 3"
    )
    assert LINE.fullmatch(lines[11]).groups()[:2] == ("6", "6")


def test_one_is_singular(command):
    flags = ["--volume-size", 8, "--iterations", 1, "--batch-size", 1500, "--validation", 0]
    lines = command(*SMALL, *flags)[1].splitlines()
    assert " 1 iteration (1 epoch), " in lines[2]
    assert lines[-1].startswith("done      1 iteration in ")


def test_a_long_run_prints_about_a_hundred_lines_and_its_last_iteration(command):
    _, output, _ = command(*SMALL, "--volume-size", 8, "--batch-size", 1, "--iterations", 205)
    numbers = [int(match[1]) for match in map(LINE.match, output.splitlines()) if match]
    assert numbers == [*range(2, 205, 2), 205]


def test_a_terminal_shows_a_progress_bar_until_ctrl_c():
    """Check the whole bar, with the remaining time, on a terminal of 80 columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    streams = {"stdout": follower, "stderr": follower, "text": False}
    process = start_script("keras", *SMALL, "--iterations", "20000", **streams)
    os.close(follower)
    bar = re.compile(
        r"training .*━.* +(\d+)/20000 \d:\d\d:\d\d loss \d\.\d{3} acc [01]\.\d\d "
        r"lr 0\.01 [0-9.,]+ images/s"
    )
    output, shown = b"", None
    try:
        while chunk := os.read(leader, 4096):
            output += chunk
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode(errors="replace"))
            if not shown and (shown := bar.search(text)):
                process.send_signal(signal.SIGINT)
    except OSError:  # the end of a pseudo-terminal
        pass
    assert process.wait() == 128 + signal.SIGINT
    assert shown and re.search(r"[\r\n]stopped by Ctrl-C after iteration \d+ of 20000\s*$", text)


def test_help_names_the_flags(front_end):
    process = run_script(front_end, "--help")
    assert process.returncode == 0
    flags = (
        "--dataset --data-dir --depth --widen-factor --dropout --shortcut --batch-size "
        "--iterations --epochs --learning-rate --momentum --nesterov --weight-decay --augment "
        "--seed --evaluate"
    )
    assert all(flag in process.stdout for flag in flags.split())


def test_imports_print_nothing_and_do_not_import_tensorflow():
    modules = f"{', '.join(SCRIPTS.values())}, wrn3d, wrn3d.runs.command, wrn3d.plot"
    libraries = {"tensorflow", "tensorlayer", "keras", "matplotlib", "sklearn"}
    process = run_python("-c", f"import sys, {modules}\nprint({libraries} & set(sys.modules))")
    assert (process.returncode, process.stdout, process.stderr) == (0, "set()\n", "")


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        ("--depth 29", 2, "depth is 29, but must be 6n + 4: 10, 16, 22, 28, 34, 40, ..."),
        ("--widen-factor 0", 2, "widen_factor is 0"),
        ("--dropout 1", 2, "dropout is 1.0"),
        ("--shortcut conv", 2, "shortcut is 'conv', but must be pad or projection"),
        ("--dataset mnist", 2, "dataset is 'mnist', but must be cifar10, cifar100, dig"),
        (
            "--dataset digits --batch-size 2000",
            2,
            "batch_size is 2000, but digits has only 1,500 training images",
        ),
        ("--data-dir LICENSE", 1, "LICENSE is a file, but should be the folder"),
        ("--data-dir /proc/data", 1, "/proc/data cannot be written to"),
        ("--depth 60004", 2, "depth is 60004, but must be a whole number from 1 to 10,000"),
        (f"--widen-factor {'9' * 300}", 2, "widen_factor is 999"),
        (f"--dataset digits --iterations {'9' * 300}", 2, "iterat"),
        ("--output /dev/null/run", 1, "/dev/null/run cannot be written"),
        ("--output /proc/run", 1, "/proc/run cannot be written"),
        ("--resume", 2, "resume, override and on_nan need the folder of the run"),
        ("--save-every 0", 2, "save_every is 0"),
        ("--output nothing/run --resume", 2, "nothing/run is not a folder, so it holds no run"),
        ("--output LICENSE --resume", 2, "LICENSE is not a folder, so it holds no run to resume"),
    ],
)
def test_a_mistake_ends_with_one_short_sentence(arguments, status, message, command):
    actual, output, errors = command(*arguments.split())
    assert (actual, output) == (status, "") and errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1 and len(errors) < 400


@pytest.mark.parametrize("flags", [["--depth", "deep"], ["--no-such-flag"], ["--depth"]])
def test_wrong_flags_end_with_status_2(flags, command):
    status, output, errors = command(*flags)
    assert (status, output) == (2, "") and flags[0].strip("-") in errors


def test_without_a_network_the_message_says_where_to_put_the_archive(tmp_path):
    process = run_script("keras", "--data-dir", tmp_path / "data", env=os.environ | UNREACHABLE)
    assert process.returncode == 1
    assert re.fullmatch(
        r"error: CIFAR-10 is not in \S+ and could not be downloaded \(.*refused.*\): put "
        r"cifar-10-python.tar.gz from https://\S+ there, name another folder with --data-dir, or "
        r"use --dataset digits \(in Python dataset=.digits.\), which needs no download\n",
        process.stderr,
    )
    assert not (tmp_path / "data").exists()


def test_a_truncated_data_file_is_named(tmp_path, command):
    folder = write_cifar10(tmp_path, "bin")
    (folder / "test_batch.bin").write_bytes(b"short")
    status, _, errors = command("--data-dir", tmp_path)
    assert status == 1 and errors.count("\n") == 1
    assert errors.startswith(f"error: {folder / 'test_batch.bin'} cannot be used")


def test_a_closed_pipe_ends_a_run_quietly():
    process = start_script("keras", *SMALL)
    assert process.stdout.readline().startswith("network")
    process.stdout.close()
    assert (process.wait(timeout=60), process.stderr.read()) == (141, "")


def test_a_full_disk_under_the_output_is_one_sentence():
    with open("/dev/full", "w") as full:
        process = run_script("keras", *SMALL, stdout=full)
    assert (process.returncode, process.stderr) == (
        1,
        "error: the output cannot be written (no space left on device)\n",
    )
