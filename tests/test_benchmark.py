"""The benchmark: what it counts, how it measures, and its command line, small."""

import csv
import gc
import itertools
import json
import math
import os
import re
import shutil
import signal
import time
import warnings

import keras
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.cases import CASES, Case
from benchmarks.contenders import CONTENDERS, repeat
from benchmarks.pytorch import Trainer, WideResNet
from benchmarks.results import Results
from benchmarks.turn import Failure, Figures, Stopwatch, Turn, measure
from tests.support.processes import run_python, start_python

RUN = ["--cases", "16-1", "--rounds", "1", "--seconds", "0.01"]


@pytest.mark.parametrize(
    "case", [Case(16, 1, 4), Case(10, 2, 2), Case(28, 4, 1), Case(10, 1, 2, 32)], ids=str
)
def test_operations_are_those_that_pytorch_counts(case):
    dimensions = 2 if case.side is None else 3
    network = WideResNet(case.spec, dimensions)
    depth, height, width, channels = case.spec.input_shape
    sides = (height, width) if dimensions == 2 else (depth, height, width)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(case.batch_size, channels, *sides)).sum().backward()
    assert counter.get_total_flops() == case.batch_size * case.training_operations


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_data_are_real_digits_that_fit_the_network(case):
    dataset = case.dataset()
    assert dataset.volume_shape == case.spec.input_shape
    assert len(dataset.train_labels) == len(dataset.train_volumes) >= 2 * case.batch_size
    if case.side:
        digits = CASES["16-1"].dataset()
        step = case.side // 32
        slices = dataset.train_volumes[1, ::step, ::step, ::step, 0]
        assert np.array_equal(slices, digits.train_volumes[32:64, 0, :, :, 0])
        assert dataset.train_labels[1] == digits.train_labels[32]


def test_stopwatch_counts_the_first_iteration_from_the_start_and_leaves_two_out(monkeypatch):
    clock = itertools.count(100.0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    steps = []
    watch = Stopwatch(elapsed=5, seconds=4)
    repeat(lambda: steps.append(1), watch.lap)
    assert watch.laps == [6, 1, 1, 1, 1, 1] and len(steps) == 6
    assert watch.timed == [1, 1, 1, 1]
    assert len(measured(Stopwatch(elapsed=0, seconds=0)).timed) == 3  # the fewest


def measured(watch):
    repeat(lambda: None, watch.lap)
    return watch


def pairs():
    """(contender, precision, case) that can be measured, on networks small enough for a test."""
    for name, contender in CONTENDERS.items():
        for case in (Case(10, 1, 4), Case(10, 1, 2, 32)):
            if not (contender.images_only and case.side):
                yield name, "float32" if case.side else "bfloat16", case


@pytest.fixture(autouse=True)
def own_warnings(monkeypatch):
    """Keeps to each test the way in which the command prints warnings."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)


@pytest.fixture
def as_before(name):
    """Sets back Keras's policy, which stock Keras in bfloat16 changes for its process, and ends the
    pipelines that `fit` leaves: the longer they are left to the garbage collector, the longer
    TensorFlow takes for it, a minute after some."""
    yield
    keras.mixed_precision.set_global_policy("float32")
    if "fit" in CONTENDERS[name].title:
        gc.collect()


@pytest.mark.filterwarnings("ignore:precision bfloat16")  # where the CPU has no instructions
@pytest.mark.parametrize("name, precision, case", list(pairs()), ids=str)
def test_a_contender_asks_after_every_iteration(name, precision, case, as_before):
    contender = CONTENDERS[name](case, precision)
    kernels, asked = [first_kernel(contender)], []

    def enough():
        kernels.append(first_kernel(contender))
        asked.append(len(kernels))
        return len(asked) == 3

    contender.train(enough)
    assert len(asked) == 3
    for before, after in itertools.pairwise(kernels):
        assert np.isfinite(after).all() and not np.array_equal(before, after)
    assert contender.evaluate() == case.evaluation_batch


def first_kernel(contender):
    if hasattr(contender, "trainer"):
        return contender.trainer.model.conv0.weight.detach().numpy().copy()
    model = contender.env.model if hasattr(contender, "env") else contender.model
    return model.trainable_weights[0].numpy()


def test_pytorchs_volumes_lie_in_memory_as_they_should():
    volumes = np.zeros((2, 4, 5, 6, 1), np.float32)
    strides = {
        form: Trainer(Case(10, 1, 2, 32).spec, 3, form, "float32").volumes(volumes).stride()
        for form in ("contiguous_format", "channels_last_3d")
    }
    assert strides == {
        "contiguous_format": (120, 120, 30, 6, 1),
        "channels_last_3d": (120, 1, 30, 6, 1),
    }


def test_a_contender_that_fails_says_why():
    with pytest.raises(Failure, match="^KeyError: 'nobody'$"):
        measure(Turn("nobody", "16-1", "float32", 0.01))


def results_of(**rates):
    """Results of two turns a contender, on WRN-16-4 in float32, at these rates in images/s."""
    results = Results()
    matmul = Turn("matmul", "16-4", "float32", 1)
    results.add(matmul, Figures(operations_per_second=100 * CASES["16-4"].training_operations))
    for name, rate in rates.items():
        for factor in (0.5, 1, 2):
            seconds = 32 / rate / factor
            figures = Figures([seconds] * 3, 6.0, 300.0, 900 * 2**20, 600 * 2**20)
            results.add(Turn(name.replace("_", "-"), "16-4", "float32", 1), figures)
    return results


def test_tables_hold_medians_spreads_and_ratios():
    results = results_of(
        tensorlayer=80,
        keras=81,
        keras_fit=90,
        stock=40,
        torch_3d=20,
        torch_3d_last=32,
        torch_2d_last=64,
    )
    summary = report.summary_table(results).splitlines()
    assert [cell.strip() for cell in summary[2].split("|")[1:-1]] == [
        "WRN-16-4, images, batch 32, float32",
        "80.0",
        "2.00x",
        "2.50x",
        "1.25x",
        "-",
        "80%",
        "1.01x",
        "0.90x",
        "1.00x",
        "1.00x",
    ]
    details = report.detail_tables(results).splitlines()
    assert details[0].endswith(": 100.0 images/s)")
    assert [cell.strip() for cell in details[4].split("|")[1:-1]] == [
        "wrn3d TensorLayer, env.step()",
        "80.0",
        "40.0",
        "160.0",
        "80%",
        "300/s",
        "6.0 s",
        "900 MiB",
        "300 MiB",
    ]
    assert len({len(line) for line in details[2:]}) == 1


def test_a_contender_that_was_left_out_leaves_a_gap():
    cells = report.summary_table(results_of(tensorlayer=80, stock=40)).splitlines()[2].split("|")
    assert [cell.strip() for cell in cells[2:8]] == ["80.0", "2.00x", "-", "-", "-", "80%"]
    assert report.summary_table(results_of(stock=40)).count("\n") == 1
    results = Results()
    results.add(Turn("tensorlayer", "16-4", "float32", 1), Figures([0.5] * 3))
    assert "nan" not in report.summary_table(results) + report.detail_tables(results)


def test_who_takes_no_part_is_named(monkeypatch):
    monkeypatch.setattr(command.CONTENDERS["torch-3d"], "libraries", ("torch_that_is_not_there",))
    monkeypatch.setattr(command.machine, "cpu_flags", lambda: {"avx2"})
    config = command.BenchmarkConfig(cases=("16-1", "16-1-32"), rounds=2)
    assert command.left_out(config) == [
        "left out: PyTorch Conv3d, whose torch_that_is_not_there is not installed "
        "(pip install -r requirements-bench.txt)",
        "left out: bfloat16, for which no instructions of this CPU are known",
        "left out on volumes: PyTorch Conv2d, channels_last",
    ]
    turns = command.planned(config)
    others = ["matmul", "tensorlayer", "keras", "keras-fit", "stock", "torch-3d-last"]
    assert [turn.contender for _, turn in turns] == 2 * [*others, "torch-2d-last"] + 2 * others
    assert [number for number, _ in turns] == 7 * [1] + 7 * [2] + 6 * [1] + 6 * [2]
    with pytest.raises(ValueError, match="none of the contenders can be measured on 16-1-32"):
        command.planned(command.BenchmarkConfig(cases=("16-1-32",), contenders=("torch-2d-last",)))


def test_help_names_every_contender():
    process = run_python("-m", "benchmarks", "--help", env=os.environ | {"COLUMNS": "200"})
    assert process.returncode == 0 and ", ".join(CONTENDERS) in process.stdout


def test_bfloat16_takes_part_where_the_cpu_has_it(monkeypatch):
    monkeypatch.setattr(command.machine, "cpu_flags", lambda: {"avx512_bf16"})
    turns = command.planned(command.BenchmarkConfig(cases=("16-4",), rounds=1))
    assert {turn.precision for _, turn in turns} == {"float32", "bfloat16"}
    quick = command.planned(command.BenchmarkConfig(quick=True))
    assert {(number, turn.case, turn.precision) for number, turn in quick} == {
        (1, "16-4", "float32")
    }
    assert command.left_out(command.BenchmarkConfig(quick=True)) == [
        "left out: bfloat16, which --quick does not measure"
    ]


def test_a_failed_turn_is_told_and_ends_with_status_1(tmp_path, monkeypatch, capsys):
    seen = []

    def measured(turn):
        seen.append(turn.contender)
        if turn.contender == "stock":
            raise Failure("ValueError: no")
        return Figures([0.1] * 3, operations_per_second=1e11)

    monkeypatch.setattr(command, "measure", measured)
    config = command.BenchmarkConfig(
        cases=("16-4",),
        contenders=("keras", "stock", "tensorlayer"),
        precisions=("float32",),
        rounds=1,
        output=tmp_path,
    )
    assert command.exit_status(command.benchmark, config) == 1
    said = capsys.readouterr()
    assert seen == ["matmul", "keras", "stock", "tensorlayer"]
    assert said.err == (
        "error: 1 of 4 turns failed, the first of them stock on 16-4 in float32: ValueError: no\n"
    )
    assert "| WRN-16-4, images, batch 32, float32 |" in said.out  # the others' table all the same


def test_a_folder_that_goes_away_keeps_the_table_on_the_screen(tmp_path, monkeypatch, capsys):
    def measured(turn):
        if turn.contender == "stock":
            shutil.rmtree(tmp_path)
        return Figures([0.1] * 3, operations_per_second=1e11)

    monkeypatch.setattr(command, "measure", measured)
    config = command.BenchmarkConfig(
        cases=("16-4",),
        contenders=("keras", "stock"),
        rounds=9,
        precisions=("float32",),
        output=tmp_path / "x",
    )
    assert command.exit_status(command.benchmark, config) == 1
    said = capsys.readouterr()
    assert "cannot be written (no such file or directory): name another" in said.err
    assert "| wrn3d Keras, env.step() " in said.out and "round 2" not in said.out


def test_a_reader_who_leaves_still_finds_the_table_written(tmp_path, monkeypatch):
    def unread(text, **_):
        if "| contender" in text:
            raise BrokenPipeError

    monkeypatch.setattr(command, "print", unread, raising=False)
    with pytest.raises(BrokenPipeError):
        command.show(results_of(keras=80), [], tmp_path)
    assert "| wrn3d Keras, env.step() " in (tmp_path / "table.md").read_text()
    assert (tmp_path / "benchmark.png").exists()


def test_the_command_measures_and_leaves_table_picture_and_raw_figures(tmp_path):
    names = ["tensorlayer", "torch-2d-last"]
    process = run_python(
        "-m",
        "benchmarks",
        *RUN,
        "--precisions",
        "float32",
        "--contenders",
        *names,
        "--output",
        tmp_path,
    )
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
        assert float(row["evaluated_per_second"]) > 0
        assert int(row["peak_memory_bytes"]) > int(row["import_memory_bytes"]) > 2**27
    assert float(rows[0]["operations_per_second"]) > 1e9
    found = json.loads((folder / "machine.json").read_text())
    assert found["cores"] >= 1 and found["versions"]["torch"] == str(torch.__version__)
    table = (folder / "table.md").read_text()
    assert table in process.stdout and "| WRN-16-1, images, batch 128, float32 |" in table
    assert "| PyTorch Conv2d, channels_last" in table
    picture = (folder / "benchmark.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


def test_ctrl_c_keeps_what_was_measured(tmp_path):
    process = start_python(
        "-m",
        "benchmarks",
        *RUN,
        "--precisions",
        "float32",
        "--contenders",
        "keras",
        "stock",
        "--output",
        tmp_path,
        start_new_session=True,
    )
    lines = iter(process.stdout.readline, "")
    assert next(line for line in lines if re.match("round 1 .* keras ", line)).endswith(
        " images/s\n"
    )
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the turn's process gets it, too
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "stopped by Ctrl-C\n")
    assert "| wrn3d Keras, env.step() |" in stdout and "stock Keras Conv3D" not in stdout
    with pytest.raises(ProcessLookupError):  # the turn's process has ended, too
        os.killpg(process.pid, 0)
    (folder,) = tmp_path.iterdir()
    assert (folder / "benchmark.png").exists() and (folder / "table.md").read_text() in stdout


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--cases", "16-9"], "cases has '16-9', but can have 16-1, "),
        (["--rounds", "0"], "rounds is"),
        (["--contenders", "foo"], "contenders has 'foo', but can have tensorlayer, "),
        (["--precisions", "half"], "precision is 'half', but must be float32 or bfloat16"),
        (["--seconds", "-1"], "seconds is -1.0"),
        (["--output", "README.md"], "README.md cannot be written (not a directory): name another"),
        (["--cases", "16-1-32", "--contenders", "torch-2d-last"], "none of the contenders can be"),
    ],
)
def test_a_mistake_ends_with_one_sentence(arguments, sentence):
    process = run_python("-m", "benchmarks", *arguments)
    assert (process.returncode, process.stdout) == (1 if "--output" in arguments else 2, "")
    assert process.stderr.startswith(f"error: {sentence}") and process.stderr.count("\n") == 1
