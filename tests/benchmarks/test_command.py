"""`python -m benchmarks`: the plan, the turns, the tables and the command line."""

import csv
import json
import os
import re
import shutil
import signal
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import report, turns
from benchmarks.cases import CASES, QUICK, Case
from benchmarks.contenders import CONTENDERS, MATMUL
from benchmarks.report import grouped
from benchmarks.turns import Group, Measurement, alternate
from tests.benchmarks.test_processes import cpu_seconds
from tests.support.processes import run_python, start_python
from wrn3d.system.errors import UserError
from wrn3d.system.exit_status import exit_status


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    """Restore the format of warnings, which the command changes."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)


def turns_of(name, *rates, work="training", case="16-1-b128"):
    """Return a contender's turns in float32 at rates in images/s, None for one not taken."""
    size = CASES[case].batch_size
    return [
        Measurement(work, case, "float32", name, number, size, size / rate, 3, 900e6, 500e6)
        for number, rate in enumerate(rates, 1)
        if rate
    ]


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_ratios_are_medians_of_the_rounds_with_their_middle_half():
    # Each contender drifts, so that the ratio of the medians (100 to 80) would be another.
    own, rival = (90, 100, 110, 60, 200), (45, 50, 80, 120, 100)
    (group,) = grouped(
        turns_of(MATMUL, *(2 * rate for rate in own))
        + turns_of("tensorlayer", *own)
        + turns_of("torch-2d", *rival)
        + turns_of("torch-2d-compiled", 20, 79, 79, 20, 500)  # the best by its median is the other
        + turns_of("stock", 45, None, 55, None, None)
    )
    expected = np.array(own) / rival  # 2, 2, 1.375, 0.5, 2
    low, middle, high = np.percentile(expected, [25, 50, 75])
    row = cells(report.training_table([group]).splitlines()[2])
    assert row[:4] == ["WRN-16-1, images, batch 128, float32", "100.0", "-", "PyTorch Conv2d"]
    assert row[4:6] == [f"{middle:.2f} ({low:.2f} to {high:.2f})", "-"]
    assert row[6:] == ["2.00 (2.00 to 2.00, 2 rounds)", "-", "50%", "-"]
    details = [cells(line) for line in report.detail_table(group).splitlines()[2:]]
    assert details[1] == [
        "wrn3d, S = 1",
        "100.0",
        "-",
        "-",
        "50%",
        "858 MiB",
        "381 MiB",
        "5",
    ]
    assert details[4][0] == "stock Keras Conv3D" and details[4][-1] == "2"


def test_both_ways_of_training_are_compared_with_the_same_program():
    measurements = turns_of("tensorlayer", 90, 90) + turns_of("tensorlayer-2", 99, 99)
    measurements += turns_of("torch-2d", 80, 80) + turns_of("torch-2d-compiled", 90, 90)
    row = cells(report.training_table(grouped(measurements)).splitlines()[2])
    assert row[1:6] == ["90.0", "99.0", "PyTorch Conv2d, compiled"] + [
        f"{ratio} ({ratio} to {ratio})" for ratio in ("1.00", "1.10")
    ]


def test_evaluation_starts_and_memory_have_tables():
    latency = {"work": "evaluation", "case": "16-1-b1"}
    measurements = [
        *turns_of("tensorlayer", 250, **latency),
        *turns_of("torch-2d-compiled", 200, **latency),
        *turns_of("onnx", 500, **latency),
        *turns_of("tensorlayer", 16, 16, work="start"),  # 8 s
        *turns_of("torch-2d", 32, 32, work="start"),
        *turns_of("torch-2d-compiled", 4, 4, work="start"),
        *turns_of("tensorlayer", 100),
        *(replace(one, memory_bytes=700e6) for one in turns_of("torch-2d", 100)),
    ]
    tables = report.tables(grouped(measurements))
    rows = [cells(line) for line in tables.splitlines() if line.startswith("| WRN-16-1")]
    names = "WRN-16-1, images, batch 128, float32", "WRN-16-1, images, batch 1, float32"
    alone = "2.00 (2.00 to 2.00)", "4.00 (4.00 to 4.00)"
    quarter = "0.25 (0.25 to 0.25)"
    assert [
        names[1],
        "250.0",
        "4",
        CONTENDERS["torch-2d-compiled"].title,
        "1.25 (1.25 to 1.25)",
    ] in [row[:5] for row in rows]
    assert [names[0], "8.0 s", "4.0 s", "32.0 s", alone[0], quarter] in rows
    assert [names[0], "381 of 858 MiB", "-", "191 of 668 MiB", "-", "2.00", "-"] in rows


def test_a_contender_that_was_left_out_leaves_a_gap():
    for measurements in (turns_of("stock", 40), turns_of("tensorlayer", 40), turns_of(MATMUL, 9)):
        assert "nan" not in report.tables(grouped(measurements))


def test_the_plan_names_what_takes_no_part(monkeypatch):
    monkeypatch.setattr(command.machine, "cpu_flags", lambda: {"avx2"})
    missing = replace(CONTENDERS["torch-3d"], libraries=("torch_that_is_not_there",))
    monkeypatch.setitem(CONTENDERS, "torch-3d", missing)
    config = command.BenchmarkConfig(cases=("16-1-b128", "16-1-32-b8", "16-1-b200"))
    groups, notes = command.plan(config)
    assert notes == [
        "without bfloat16: no instructions of this CPU are known",
        "without PyTorch Conv3d, contiguous: torch_that_is_not_there is not installed "
        "(pip install -r requirements-bench.txt)",
    ]
    own, flat = ["tensorlayer", "tensorlayer-2", "stock"], ["torch-2d", "torch-2d-compiled"]
    solid = ["torch-3d-compiled", "torch-3d-last", "torch-3d-last-compiled"]
    assert [(group.work, group.case.name, [*group.contenders]) for group in groups] == [
        ("training", "16-1-b128", [MATMUL, *own, *flat]),
        ("training", "16-1-32-b8", [MATMUL, *own, *solid]),
        ("evaluation", "16-1-b200", ["tensorlayer", *flat, "onnx"]),
        ("start", "16-1-b128", ["tensorlayer", *flat]),
        ("start", "16-1-32-b8", ["tensorlayer", *solid]),
    ]


def test_named_contenders_take_part_where_they_can():
    config = command.BenchmarkConfig(contenders=("keras", "torch-3d", "torch-2d"), quick=True)
    found = {group.work: group.contenders for group in command.plan(config)[0]}
    assert found["training"] == (MATMUL, "keras", "torch-2d", "torch-3d")
    assert found["evaluation"] == ("keras", "torch-2d")


@pytest.mark.parametrize(
    "quick, precisions, notes",
    [
        (False, ["float32", "bfloat16"], []),
        (True, ["float32"], ["without bfloat16: --quick leaves it out"]),
    ],
)
def test_bfloat16_takes_part_where_the_cpu_has_it(quick, precisions, notes, monkeypatch):
    monkeypatch.setattr(command.machine, "cpu_flags", lambda: {"avx512_bf16"})
    config = command.BenchmarkConfig(quick=quick, cases=() if quick else (QUICK["training"]))
    groups, found = command.plan(config)
    assert [group.precision for group in groups if group.work == "training"] == precisions
    assert found == notes


def test_help_names_every_contender():
    process = run_python("-m", "benchmarks", "--help")
    words = re.sub(r"[\s│]+", " ", process.stdout)
    assert process.returncode == 0 and ", ".join(CONTENDERS) in words


@pytest.fixture
def fake(monkeypatch):
    """Replace the processes; `fake.rates` are {contender: images/s}, `fake.failing` raise."""

    @contextmanager
    def participant(group, name):
        taken = []
        fake.started.append(name)

        def fail_at(turn):
            if fake.failing.get(name) == turn:
                raise fake.error

        def call():
            taken.append(name)
            fail_at(len(taken))
            seconds = group.case.batch_size / fake.rates.get(name, 80.0)
            return common | {"seconds": seconds, "iterations": 2}

        def ready():
            fail_at(0)
            return common

        common = {"first step": fake.starts.get(name, 6.0), "memory": 9e8, "import memory": 5e8}
        yield ready, call

    fake = participant
    fake.rates, fake.starts, fake.failing, fake.started = {}, {}, {}, []
    fake.error = UserError("stock failed: no")
    monkeypatch.setattr(turns, "participant", participant)
    return fake


@pytest.mark.parametrize("turn, rounds", [(0, 0), (3, 2)])
def test_the_others_go_on_without_one_that_fails(turn, rounds, fake):
    group = Group("training", CASES["16-1-b128"], "float32", ("tensorlayer", "stock"))
    fake.failing, failures = {"stock": turn}, []
    found = [one for part in alternate(group, 6, failures) for one in part]
    names = [one.contender for one in found]
    assert names.count("stock") == rounds and names.count("tensorlayer") == 6
    assert failures == ["stock failed: no"]


def test_a_rival_that_lags_far_behind_takes_no_more_turns(fake):
    names = ("matmul", "tensorlayer", "stock", "torch-3d", "torch-3d-last", "torch-3d-compiled")
    fake.rates = dict(zip(names, (1.0, 30.0, 20.0, 79.0, 81.0, 100.0), strict=True))
    count = rounds_of(Group("training", CASES["16-1-32-b8"], "float32", names), 8)
    assert count == dict.fromkeys(names, 8) | {"torch-3d": 5}


def test_stock_keras_takes_few_turns_on_images_and_compiling_few_starts(fake):
    names = ("tensorlayer", "stock", "torch-2d")
    fake.rates = dict(zip(names, (90.0, 40.0, 80.0), strict=True))
    assert rounds_of(Group("training", CASES["16-1-b128"], "float32", names), 7)["stock"] == 5
    # Without PyTorch nothing tells whether it lags behind.
    assert rounds_of(Group("training", CASES["16-1-b128"], "float32", names[:2]), 7)["stock"] == 7
    fake.starts = {"torch-2d-compiled": 30.0}
    names = ("tensorlayer", "torch-2d", "torch-2d-compiled")
    count = rounds_of(Group("start", CASES["16-1-b128"], "float32", names), 5)
    assert count == {"tensorlayer": 5, "torch-2d": 5, "torch-2d-compiled": 2}


def rounds_of(group, rounds):
    """Return {contender: number of its turns}."""
    found = [one.contender for part in alternate(group, rounds, []) for one in part]
    return {name: found.count(name) for name in group.contenders}


def test_each_round_of_a_start_has_a_fresh_process(fake):
    group = Group("start", CASES["16-1-b128"], "float32", ("tensorlayer", "torch-2d"))
    found = [one for part in alternate(group, group.rounds(8), []) for one in part]
    assert fake.started == ["tensorlayer", "torch-2d", "torch-2d", "tensorlayer"]
    assert [one.seconds for one in found] == 4 * [6.0]


def benchmark(folder, **settings):
    """Run the quick command; return its exit status."""
    config = command.BenchmarkConfig(quick=True, output=folder, **settings)
    return exit_status(command.benchmark, config)


def test_a_failed_contender_ends_with_status_1_after_the_others(tmp_path, fake, capsys):
    fake.failing = {"stock": 2}
    assert benchmark(tmp_path) == 1
    output = capsys.readouterr()
    assert output.err == "error: 1 contender failed; the first: stock failed: no\n"
    assert "| WRN-16-1, images, batch 128, float32 |" in output.out
    names = {path.name for path in tmp_path.glob("*/*")}
    assert names == {"benchmark.png", "machine.json", "table.md", "turns.csv"}


def test_ctrl_c_keeps_what_was_measured(tmp_path, fake, capsys):
    fake.failing, fake.error = {"stock": 3}, KeyboardInterrupt()
    assert benchmark(tmp_path) == 130
    (folder,) = tmp_path.iterdir()
    assert (folder / "table.md").read_text() in capsys.readouterr().out
    with open(folder / "turns.csv", newline="") as file:
        rounds = [row["round"] for row in csv.DictReader(file)]
    assert sorted(rounds) == 6 * ["1"] + 6 * ["2"]


def test_a_folder_that_goes_away_keeps_the_table_on_the_screen(tmp_path, fake, capsys):
    (tmp_path / "x").mkdir()
    group = Group("training", CASES["16-1-b128"], "float32", ("tensorlayer",))
    found, failures = [], []
    with pytest.raises(UserError, match="cannot be written .*: name another"):
        command.take([group], 2, found, failures, tmp_path / "gone")
    assert len(found) == 1  # measured before the first row was to be written
    with pytest.raises(UserError, match="cannot be written"):
        command.show(grouped(found), [], tmp_path / "gone")
    assert "| wrn3d, S = 1 " in capsys.readouterr().out


def test_a_reader_who_leaves_still_finds_the_table_written(tmp_path, monkeypatch):
    def unread(text, **_):
        raise BrokenPipeError

    monkeypatch.setattr(command, "print", unread, raising=False)
    with pytest.raises(BrokenPipeError):
        command.show(grouped(turns_of("keras", 80)), [], tmp_path)
    assert "| wrn3d, Keras script " in (tmp_path / "table.md").read_text()
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments, status, sentence",
    [
        (["--cases", "16-9"], 2, "cases is '16-9', but must be 16-1-b128, "),
        (["--rounds", "0"], 2, "rounds is"),
        (["--works", "test"], 2, "works is 'test', but must be training, evaluation or start"),
        (["--contenders", "foo"], 2, "contenders is 'foo', but must be matmul, "),
        (["--output", "README.md"], 1, "README.md cannot be written (not a directory): name anoth"),
        (["--cases", "16-1-32-b8", "--contenders", "torch-2d"], 2, "none of the contenders can"),
    ],
)
def test_a_mistake_ends_with_one_sentence(arguments, status, sentence, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    assert command.main() == status
    output = capsys.readouterr()
    assert output.err.startswith(f"error: {sentence}") and output.err.count("\n") == 1
    assert output.out == ""


SMALL = Case(10, 1, 32)


@pytest.mark.slow
def test_waiting_contenders_use_no_core_and_one_that_dies_is_named(monkeypatch):
    names = ("tensorlayer", "stock", "torch-2d", "nobody")
    monkeypatch.setitem(CONTENDERS, "nobody", CONTENDERS["torch-2d"])  # unknown to its process
    group, failures = Group("training", SMALL, "float32", names), []
    rounds = alternate(group, 3, failures)
    first = next(rounds)
    assert [one.contender for one in first] == list(names[:3])
    assert failures == [f"nobody in {group.title} failed: KeyError: 'nobody'"]
    before = cpu_seconds()
    time.sleep(2)
    assert before > 1 and cpu_seconds() - before < 0.5
    found = [*first, *next(rounds), *next(rounds)]
    assert next(rounds, None) is None and cpu_seconds() < before  # all have ended
    for one in found:
        assert 1 <= one.iterations < 1 + 3 * turns.SECONDS["training"] / one.seconds
        assert one.memory_bytes > one.import_memory_bytes > 2**27


@pytest.mark.slow
def test_the_command_measures_and_leaves_table_picture_and_raw_figures(tmp_path):
    names = ["tensorlayer", "torch-2d"]
    arguments = ["--quick", "--rounds", "2", "--contenders", *names, "--output", tmp_path]
    process = run_python("-m", "benchmarks", *arguments)
    assert (process.returncode, process.stderr) == (0, "")
    (folder,) = tmp_path.iterdir()
    with open(folder / "turns.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["contender"] for row in rows] == 2 * [MATMUL, *names] + 2 * names + names
    for row in rows:
        assert 0 < float(row["seconds"]) < (10 if row["work"] == "training" else 60)
    machine = json.loads((folder / "machine.json").read_text())
    assert machine["cores"] >= 1 and machine["versions"]["torch"] == str(torch.__version__)
    table = (folder / "table.md").read_text()
    assert table in process.stdout and table.count("| WRN-16-1, images, batch 128, float32 |") == 4
    picture = (folder / "benchmark.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


@pytest.mark.slow
def test_ctrl_c_ends_all_processes(tmp_path):
    arguments = ["--quick", "--contenders", "torch-2d", "stock", "--output", tmp_path]
    process = start_python("-m", "benchmarks", *arguments, start_new_session=True)
    while not any("torch-2d" in path.read_text() for path in tmp_path.glob("*/turns.csv")):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the contenders get it, too
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "stopped by Ctrl-C\n")
    assert re.search(r"\| PyTorch Conv2d +\|", stdout)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    shutil.rmtree(tmp_path)
