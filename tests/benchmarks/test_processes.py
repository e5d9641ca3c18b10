"""Workers that measure at each call, in rounds, with a version of the project of their own."""

import os
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.cases import Case
from benchmarks.processes import in_rounds, started_workers
from benchmarks.scaling import model
from benchmarks.worker import SUM_SIZES, answer_calls
from wrn3d.system.errors import UserError

SMALL = Case(10, 1, 32)


def test_every_other_round_is_reversed():
    order = []

    def turn(name):
        order.append(name)
        return {"step": float(len(order))}

    turns = {name: partial(turn, name) for name in "abc"}
    rounds = list(in_rounds(turns, 3, partial(order.append, "-")))
    assert "".join(order) == "a-b-c-c-b-a-a-b-c-"
    assert list(rounds[1]) == ["a", "b", "c"]
    assert rounds[0] == {"a": {"step": 1.0}, "b": {"step": 3.0}, "c": {"step": 5.0}}


@pytest.mark.parametrize("count, module", [(1, "benchmarks"), (2, "wrn3d")])
def test_workers_import_the_version_of_the_project_in_a_folder(count, module, tmp_path):
    (tmp_path / f"{module}.py").write_text("raise SystemExit('an older version')")
    with (
        pytest.raises(UserError, match=f"^measuring {count} workers? failed: an older version$"),
        started_workers(count, SMALL, 1, project=tmp_path),
    ):
        pass


def test_a_participant_ends_when_its_benchmark_was_killed(tmp_path):
    os.mkfifo(calls := tmp_path / "calls")  # nobody will write into it
    assert list(answer_calls(str(calls), {})) == []


def cpu_seconds():
    """Return the seconds that all processes which this one started have computed."""
    parents, seconds = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = path.read_text().rpartition(")")[2].split()
        number = int(path.parent.name)
        parents[number] = int(fields[1])
        seconds[number] = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def is_below(number):
        return number in parents and (parents[number] == os.getpid() or is_below(parents[number]))

    return sum(seconds[number] for number in seconds if is_below(number))


@pytest.mark.slow
def test_two_workers_measure_at_each_call_and_wait_idly():
    with started_workers(2, SMALL, 2, sums=True, checkpoint=True) as call:
        first, second = call(), call()
        before = cpu_seconds()
        time.sleep(2)
        assert before > 1 and cpu_seconds() - before < 0.5
    work = model.Work(0.0, 0.0, *model.messages_of(SMALL.spec))
    expected = 2 * model.sent_in_step(work, 2)
    # The rest are headers, large beside these small messages, and the traffic of other programs.
    assert expected < first["bytes"] < 2 * expected
    assert all(value > 0 for name, value in second.items() if not name.startswith("sum of"))
    names = {"step", "first step", "memory", "bytes", "input", "save"}
    assert first.keys() == second.keys() == names | {f"sum of {size}" for size in SUM_SIZES}
    assert first["first step"] > first["step"] and first["memory"] > 2 * 2**27


@pytest.mark.slow
def test_a_worker_that_fails_says_why():
    with (
        pytest.raises(UserError, match=r"^measuring 2 workers failed: .* batch_norm is"),
        started_workers(2, SMALL, 2, settings={"batch_norm": "global"}),
    ):
        pass
