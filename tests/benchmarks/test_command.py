"""`python -m benchmarks`: the plan, the tables and the command line."""

import csv
import json
import math
import os
import re
import shutil
import signal
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import contenders, report
from benchmarks import turn as turn_module
from benchmarks.cases import CASES
from benchmarks.contenders import CONTENDERS, MATMUL
from benchmarks.report import grouped
from benchmarks.turn import Measurement, Turn, measure
from tests.support.processes import run_python, start_python
from wrn3d.system.errors import UserError
from wrn3d.system.exit_status import exit_status


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    """Restore the format of warnings, which the command changes."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)


def measured(name, rate=80.0):
    """Return a measurement of WRN-16-4 in float32 at a rate in images/s."""
    case = CASES["16-4"]
    return Measurement(
        round=1,
        case=case.name,
        batch_size=case.batch_size,
        precision="float32",
        contender=name,
        images_per_second=rate,
        first_iteration_seconds=6.0,
        peak_memory_bytes=900 * 2**20,
        import_memory_bytes=600 * 2**20,
        operations_per_second=rate * case.training_operations,
        iteration_seconds=[case.batch_size / rate] * 3,
    )


def groups_of(**rates):
    """Return the group of three turns for each contender, and the matmul at 100 images/s."""
    turns = [measured(MATMUL, 100.0)]
    for name, rate in rates.items():
        turns += [measured(name.replace("_", "-"), rate * factor) for factor in (0.5, 1, 2)]
    return grouped(turns)


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_tables_hold_medians_spreads_and_ratios():
    groups = groups_of(
        tensorlayer=80,
        keras=81,
        keras_fit=90,
        stock=40,
        torch_3d=20,
        torch_3d_last=32,
        torch_2d_last=64,
    )
    ratios = ["80.0", "2.00x", "2.50x", "1.25x", "-", "80%", "1.01x", "0.90x", "1.00x", "1.00x"]
    title = "WRN-16-4, images, batch 32, float32"
    assert cells(report.summary_table(groups).splitlines()[2]) == [title, *ratios]
    details = report.detail_tables(groups).splitlines()
    assert details[0].endswith("(matmul 235 GFLOP/s: 100.0 images/s)")
    figures = ["80.0", "40.0", "160.0", "80%", "6.0 s", "900 MiB", "300 MiB"]
    assert cells(details[4]) == ["wrn3d TensorLayer, env.step()", *figures]
    assert len({len(line) for line in details[2:]}) == 1


def test_a_contender_that_was_left_out_leaves_a_gap():
    row = cells(report.summary_table(groups_of(tensorlayer=80, stock=40)).splitlines()[2])
    assert row[1:7] == ["80.0", "2.00x", "-", "-", "-", "80%"]
    assert report.summary_table(groups_of(stock=40)).count("\n") == 1
    groups = grouped([measured("tensorlayer")])  # not even the matmul
    assert "nan" not in report.summary_table(groups) + report.detail_tables(groups)


def test_the_plan_names_what_takes_no_part(monkeypatch):
    monkeypatch.setattr(command.machine, "cpu_flags", lambda: {"avx2"})
    missing = replace(CONTENDERS["torch-3d"], libraries=("torch_that_is_not_there",))
    monkeypatch.setitem(CONTENDERS, "torch-3d", missing)
    config = command.BenchmarkConfig(cases=("16-1", "16-1-32"), rounds=2)
    turns, notes = command.plan(config)
    assert notes == [
        "without bfloat16: no instructions of this CPU are known",
        "without PyTorch Conv3d: torch_that_is_not_there is not installed "
        "(pip install -r requirements-bench.txt)",
    ]
    others = ["matmul", "tensorlayer", "keras", "keras-fit", "stock", "torch-3d-last"]
    assert [turn.contender for turn in turns] == 2 * [*others, "torch-2d-last"] + 2 * others
    assert [turn.round for turn in turns] == 7 * [1] + 7 * [2] + 6 * [1] + 6 * [2]
    assert {turn.precision for turn in turns} == {"float32"}


@pytest.mark.parametrize(
    "quick, precisions, notes",
    [
        (False, {"float32", "bfloat16"}, []),
        (True, {"float32"}, ["without bfloat16: --quick leaves it out"]),
    ],
)
def test_bfloat16_takes_part_where_the_cpu_has_it(quick, precisions, notes, monkeypatch):
    monkeypatch.setattr(command.machine, "cpu_flags", lambda: {"avx512_bf16"})
    config = command.BenchmarkConfig(quick=quick, cases=() if quick else ("16-4",), rounds=1)
    turns, found = command.plan(config)
    assert {(turn.round, turn.case) for turn in turns} == {(1, "16-4")}
    assert {turn.precision for turn in turns} == precisions and found == notes


def test_help_names_every_contender():
    process = run_python("-m", "benchmarks", "--help", env=os.environ | {"COLUMNS": "200"})
    assert process.returncode == 0 and ", ".join(CONTENDERS) in process.stdout


def test_a_contender_that_fails_says_why():
    with pytest.raises(UserError, match="^nobody on 16-1 in float32 failed: KeyError: 'nobody'$"):
        measure(Turn(1, "16-1", 128, "float32", "nobody"))


def test_a_turn_gives_rates_and_memory(monkeypatch):
    for module in (contenders, turn_module):
        monkeypatch.setattr(module, "MATRIX_SIDE", 64)
    monkeypatch.setattr(turn_module, "SECONDS", 0.0)
    turn = Turn(1, "16-1", 128, "float32", MATMUL)
    measurement = turn_module.take_turn(turn, start=time.perf_counter() - 5)
    seconds = measurement.iteration_seconds
    assert len(seconds) == 3 and measurement.first_iteration_seconds > 5
    rate = 2 * 64**3 / np.median(seconds)
    assert measurement.operations_per_second == pytest.approx(rate)
    images = rate / CASES["16-1"].training_operations
    assert measurement.images_per_second == pytest.approx(images)
    assert measurement.peak_memory_bytes >= measurement.import_memory_bytes > 2**27


def benchmark(folder, monkeypatch, stock):
    """Run the command on WRN-16-4, with `stock()` as stock Keras's turn; return its exit status."""

    def take_turn(turn):
        if turn.contender == "stock":
            stock()
        return measured(turn.contender)

    monkeypatch.setattr(command, "measure", take_turn)
    names = ("keras", "stock", "tensorlayer")
    config = command.BenchmarkConfig(quick=True, contenders=names, output=folder)
    return exit_status(command.benchmark, config)


def test_a_failed_turn_ends_with_status_1_after_the_others(tmp_path, monkeypatch, capsys):
    def fail():
        raise UserError("stock on 16-4 failed: no")

    assert benchmark(tmp_path, monkeypatch, fail) == 1
    output = capsys.readouterr()
    assert output.err == "error: 1 of 4 turns failed; the first: stock on 16-4 failed: no\n"
    assert "| WRN-16-4, images, batch 32, float32 |" in output.out
    names = {path.name for path in tmp_path.glob("*/*")}
    assert names == {"benchmark.png", "machine.json", "table.md", "turns.csv"}


def test_a_folder_that_goes_away_keeps_the_table_on_the_screen(tmp_path, monkeypatch, capsys):
    assert benchmark(tmp_path / "x", monkeypatch, lambda: shutil.rmtree(tmp_path)) == 1
    output = capsys.readouterr()
    assert "cannot be written (no such file or directory): name another" in output.err
    assert "| wrn3d Keras, env.step() " in output.out and "tensorlayer on" not in output.out


def test_a_reader_who_leaves_still_finds_the_table_written(tmp_path, monkeypatch):
    def unread(text, **_):
        raise BrokenPipeError

    monkeypatch.setattr(command, "print", unread, raising=False)
    with pytest.raises(BrokenPipeError):
        command.show(groups_of(keras=80), [], tmp_path)
    assert "| wrn3d Keras, env.step() " in (tmp_path / "table.md").read_text()
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments, status, sentence",
    [
        (["--cases", "16-9"], 2, "cases is '16-9', but must be 16-1, "),
        (["--rounds", "0"], 2, "rounds is"),
        (["--contenders", "foo"], 2, "contenders is 'foo', but must be matmul, "),
        (["--output", "README.md"], 1, "README.md cannot be written (not a directory): name anoth"),
        (["--cases", "16-1-32", "--contenders", "torch-2d-last"], 2, "none of the contenders can"),
    ],
)
def test_a_mistake_ends_with_one_sentence(arguments, status, sentence, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    assert command.main() == status
    output = capsys.readouterr()
    assert output.err.startswith(f"error: {sentence}") and output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.slow
def test_the_command_measures_and_leaves_table_picture_and_raw_figures(tmp_path):
    names = ["tensorlayer", "torch-2d-last"]
    arguments = ["--quick", "--cases", "16-1", "--contenders", *names, "--output", tmp_path]
    process = run_python("-m", "benchmarks", *arguments)
    assert (process.returncode, process.stderr) == (0, "")
    (folder,) = tmp_path.iterdir()
    with open(folder / "turns.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["contender"] for row in rows] == ["matmul", *names]
    for row in rows[1:]:
        seconds = [float(value) for value in row["iteration_seconds"].split()]
        assert len(seconds) >= 3
        assert math.isclose(float(row["images_per_second"]), 128 / np.median(seconds), rel_tol=1e-3)
        assert float(row["first_iteration_seconds"]) > seconds[0]
        assert int(row["peak_memory_bytes"]) > int(row["import_memory_bytes"]) > 2**27
    assert float(rows[0]["operations_per_second"]) > 1e9
    machine = json.loads((folder / "machine.json").read_text())
    assert machine["cores"] >= 1 and machine["versions"]["torch"] == str(torch.__version__)
    table = (folder / "table.md").read_text()
    assert table in process.stdout and "| WRN-16-1, images, batch 128, float32 |" in table
    assert "| PyTorch Conv2d, channels_last" in table
    picture = (folder / "benchmark.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured(tmp_path):
    arguments = ["--quick", "--contenders", "torch-2d-last", "stock", "--output", tmp_path]
    process = start_python("-m", "benchmarks", *arguments, start_new_session=True)
    lines = iter(process.stdout.readline, "")
    assert next(line for line in lines if re.match("round 1 .* images/s\n", line))  # the matmul
    assert next(line for line in lines if "torch-2d-last" in line).endswith(" images/s\n")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the turn's process gets it, too
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "stopped by Ctrl-C\n")
    assert "| PyTorch Conv2d, channels_last |" in stdout and "stock Keras Conv3D" not in stdout
    with pytest.raises(ProcessLookupError):  # the turn's process has ended, too
        os.killpg(process.pid, 0)
    (folder,) = tmp_path.iterdir()
    assert (folder / "benchmark.png").exists() and (folder / "table.md").read_text() in stdout
