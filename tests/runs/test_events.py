"""TensorBoard events, as TensorBoard reads them."""

import sys

import numpy as np
import pytest

from tests.support.runs import SMALL, files_end_at
from wrn3d.runs import events
from wrn3d.runs.folder import RunFolder


def read_events(path):
    """Return {tag: {step: value}}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    return {
        tag: {event.step: event.value for event in found.Scalars(tag)}
        for tag in found.Tags()["scalars"]
    }


def test_events_are_the_numbers_of_the_logs_also_after_resuming(resumed):
    folder = RunFolder(resumed[0])
    found = read_events(folder.path)
    columns = {name.replace("_", " "): folder.log.column(name) for name in folder.log.columns[2:]}
    columns["validation accuracy"] = folder.validations.column("accuracy")
    for name, column in columns.items():
        assert found[name] == {step: np.float32(number) for step, number in column.items()}


def test_events_after_the_iteration_of_a_restart_no_longer_count(tmp_path):
    first = events.Events(tmp_path, 0)
    for iteration in range(1, 9):
        first.add(iteration, {"loss": 1.0})
    second = events.Events(tmp_path, 5)
    second.add(6, {"loss": 2.0})
    assert read_events(tmp_path)["loss"] == dict.fromkeys(range(1, 6), 1.0) | {6: 2.0}


def test_without_tensorboard_a_run_names_the_package(tmp_path, monkeypatch, command):
    monkeypatch.setattr(events, "find_spec", lambda name: None)
    status, printed, _ = command(*SMALL, "--iterations", 1, "--output", tmp_path)
    assert status == 0 and printed.count("pip install tensorboard") == 1
    assert (tmp_path / "log.csv").exists() and not list(tmp_path.glob("events*"))


def test_events_end_where_the_disk_does(tmp_path):
    with files_end_at(400):
        written = events.Events(tmp_path, 0)
        with pytest.warns(
            UserWarning,
            match=r"TensorBoard events end at iteration \d, training continues: no space left",
        ) as warned:
            for iteration in range(1, 10):
                written.add(iteration, {"loss": 0.5, "accuracy": 0.25})
    written.add(10, {"loss": 0.5})  # room again: the file must stay readable
    assert len(warned) == 1
    steps = list(read_events(tmp_path)["loss"])
    assert steps == list(range(1, len(steps) + 1)) and 1 <= len(steps) < 9


def test_another_package_named_tensorboard_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)  # cannot be imported
    with pytest.warns(UserWarning, match="TensorBoard events end at iteration 3"):
        events.Events(tmp_path, 3).add(4, {"loss": 1.0})
    assert not list(tmp_path.iterdir())
