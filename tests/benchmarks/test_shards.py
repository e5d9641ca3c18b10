"""`python -m benchmarks.shards`: who takes turns with whom, the tables and the command line."""

import csv
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.cases import Case
from benchmarks.processes import ROOT
from benchmarks.shards import __main__ as command
from benchmarks.shards import report, ways
from benchmarks.shards.ways import Group, Measurement, Way, groups_of_ways
from tests.benchmarks.test_command import cells
from wrn3d.system.errors import UserError
from wrn3d.system.exit_status import exit_status

SMALL = Case(10, 1, 32)


def measurement(way, step, baseline_step, case="16-1-b128", precision="float32"):
    return Measurement(case, precision, way, step, baseline_step, 12.0, 8.0, 3e9, 2e9)


def test_tables_hold_medians_of_ratios_with_their_middle_half():
    rounds = [(1.0, 0.5), (1.0, 1.0), (1.0, 1.5), (2.0, 4.0), (1.0, 3.0)]
    rows = [measurement("S = 2, local", *steps) for steps in rounds]
    rows += [measurement("S = 4, local", 0.5, 2.0, case="28-4-b32")]
    tables = report.tables(rows, command.SHARDED).split("\n\n")
    speeds, first_steps, memory = (
        [cells(line) for line in table.splitlines() if "---" not in line] for table in tables
    )
    titles = ["WRN-16-1, images, batch 128", "WRN-28-4, images, batch 32"]
    assert speeds == [
        ["images/s, float32", *titles],
        ["baseline", "85.3", "16.0"],
        ["S = 2, local", "1.50 (0.75 to 2.50)", "-"],
        ["S = 4, local", "-", "4.00 (4.00 to 4.00)"],  # Ctrl-C after one round
    ]
    assert first_steps[1:3] == [["baseline", "8.0 s", "8.0 s"], ["S = 2, local", "1.50", "-"]]
    assert memory[1:3] == [["baseline", "1907 MiB", "1907 MiB"], ["S = 2, local", "1.50", "-"]]


def test_each_precision_has_its_tables():
    rows = [measurement("S = 2, local", 1, 1, precision=name) for name in ("float32", "bfloat16")]
    assert report.tables(rows, command.SHARDED).count("| images/s, ") == 2
    assert report.tables(rows, command.SHARDED).count("| memory, bfloat16 ") == 1


def test_few_processes_take_turns_at_once():
    groups = [[way.title for way in group] for group in groups_of_ways(2, (4, 8), True)]
    assert groups == [
        ["S = 1", "S = 2, local", "S = 2, synchronised"],
        ["S = 4, local", "S = 4, synchronised"],
        ["S = 8, local", "S = 8, synchronised"],
        [
            "two workers, S = 2, local",
            "two workers, S = 2, synchronised",
            "baseline, two workers, S = 1",
        ],
    ]
    assert [len(group) for group in groups_of_ways(7, (4, 8), False)] == [2, 2, 3]  # S = 4 once
    assert [len(group) for group in groups_of_ways(7, (), False)] == [2, 3]


def test_a_batch_has_no_more_shards_than_rows(monkeypatch):
    monkeypatch.setattr(command.machine, "usable_cores", lambda: 16)
    monkeypatch.setattr(command.machine, "cpu_flags", lambda: {"avx2"})
    groups, notes = command.plan(command.ShardsConfig(cases=("16-1-32-b8",)))
    shards = [[(way.workers, way.shards) for way in group.ways] for group in groups]
    assert shards == [[(1, 4), (1, 4)], [(1, 8), (1, 8)], [(2, 1)]]
    assert notes[1:] == [
        "without bfloat16: no instructions of this CPU are known",
        "the baseline is S = 1 of this version",
    ]


@pytest.fixture
def fake_workers(monkeypatch):
    """Replace the workers, on two cores; return what starts them, with a list of `started`."""
    started = []

    @contextmanager
    def fake(count, case, steps, settings=None, project=ROOT):
        started.append((count, settings, project))
        number = len(started)

        def call():
            if number == fake.fails_at:
                raise fake.error
            return {"step": 2.0**-number, "first step": 1.0 * number, "memory": 1e9 * number}

        yield call

    monkeypatch.setattr(command.machine, "usable_cores", lambda: 2)
    fake.fails_at = None
    monkeypatch.setattr(ways, "started_workers", fake)
    monkeypatch.setattr(command, "started_workers", fake)
    fake.started = started
    return fake


def test_each_way_is_paired_with_the_baseline_of_its_round(fake_workers):
    group = Group(SMALL, "float32", [Way(1, 2, "local"), Way(2, older=True)])
    rounds = list(ways.alternate(group, 3, Path("older")))
    common = {"precision": "float32", "batch_norm": "synchronised"}
    assert fake_workers.started == [
        (1, common, Path("older")),
        (1, common | {"batch_norm": "local", "shards": 2}, ROOT),
        (2, common, Path("older")),
    ]
    assert len(rounds) == 3
    assert rounds[1] == [
        Measurement("10-1-b32", "float32", "S = 2, local", 0.25, 0.5, 2.0, 1.0, 2e9, 1e9),
        Measurement(
            "10-1-b32", "float32", "baseline, two workers, S = 1", 0.125, 0.5, 3.0, 1, 3e9, 1e9
        ),
    ]


def run(folder, **settings):
    """Run the quick command on its two groups; return the exit status and the new folder."""
    config = command.ShardsConfig(quick=True, output=folder, **settings)
    status = exit_status(command.benchmark, config)
    (folder,) = folder.iterdir()
    return status, folder


def test_the_command_prints_and_writes_the_table(fake_workers, tmp_path, capsys):
    status, folder = run(tmp_path, rounds=3, baseline=ROOT)
    output = capsys.readouterr()
    assert (status, output.err) == (0, "")
    text = (folder / "shards.md").read_text()
    assert text.strip() in output.out and f"S = 1 of the version in {ROOT}" in text
    assert "| S = 2, local" in text and "2.00 (2.00 to 2.00)" in text
    assert "images, batch 128, float32: S = 1: 2.00; S = 2, local: 4.00; " in output.out
    with open(folder / "turns.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * (3 + 3) and rows[0]["memory_bytes"] == "3000000000.0"


def test_a_failed_group_ends_with_status_1_after_the_others(fake_workers, tmp_path, capsys):
    fake_workers.fails_at, fake_workers.error = 3, UserError("measuring 1 worker failed: no")
    status, folder = run(tmp_path)
    name = "WRN-16-1, images, batch 128, float32"
    error = f"1 of 2 groups failed; the first: {name}: measuring 1 worker failed: no"
    assert (status, capsys.readouterr().err) == (1, f"error: {error}\n")
    text = (folder / "shards.md").read_text()
    assert "| two workers, S = 2, local" in text and "| S = 2" not in text


def test_ctrl_c_keeps_what_was_measured(fake_workers, tmp_path, capsys):
    fake_workers.fails_at, fake_workers.error = 6, KeyboardInterrupt
    status, folder = run(tmp_path)
    assert (status, capsys.readouterr().err) == (130, "stopped by Ctrl-C\n")
    text = (folder / "shards.md").read_text()
    assert "| S = 2, local" in text and "| two workers" not in text
    assert (folder / "turns.csv").read_text().count("\n") == 1 + 5 * 2


def test_a_reader_who_leaves_still_finds_the_table_written(fake_workers, tmp_path, monkeypatch):
    def unread(text, **_):
        if "| baseline" in text:
            raise BrokenPipeError

    monkeypatch.setattr(command, "print", unread, raising=False)
    with pytest.raises(BrokenPipeError):
        command.benchmark(command.ShardsConfig(quick=True, output=tmp_path))
    (folder,) = tmp_path.iterdir()
    assert "| S = 2, local" in (folder / "shards.md").read_text()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--cases", "16-2"], "cases is '16-2', but must be 16-1-b128, 16-4-b128, "),
        (["--rounds", "1"], "rounds is 1, but must be a whole number from 2 up"),
        (["--baseline", "docs"], "baseline is docs, but must be a folder with a version of the p"),
    ],
)
def test_a_mistake_ends_with_one_sentence(arguments, sentence, fake_workers, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["shards", *arguments])
    assert command.main() == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"error: {sentence}") and output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.slow
def test_processes_train_in_shards(monkeypatch, tmp_path):
    chosen = [[Way(1, 2, "local"), Way(2, 2, "synchronised")]]
    monkeypatch.setattr(command, "groups_of_ways", lambda *_: chosen)
    monkeypatch.setitem(command.SHARDED, SMALL.name, SMALL)
    monkeypatch.setattr(command, "QUICK", (SMALL.name,))
    status, folder = run(tmp_path, rounds=2)
    assert status == 0
    with open(folder / "turns.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["way"] for row in rows] == 2 * [way.title for way in chosen[0]]
    for row in rows:
        assert float(row["first_step_seconds"]) > float(row["step_seconds"]) > 0
