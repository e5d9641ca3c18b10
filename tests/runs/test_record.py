"""run.json, test.json and epochs.csv of a finished run, and what it printed."""

import json
import re
from itertools import groupby

import numpy as np
import pytest
from PIL import Image

from wrn3d.runs.folder import RunFolder
from wrn3d.runs.record import record_end


def test_epochs_are_the_means_of_their_iterations(resumed):
    folder = RunFolder(resumed[0])
    rows, epochs = list(folder.log.rows()), list(folder.epochs.rows())
    assert [row[0] for row in rows] == list(range(1, 61)) and len(epochs) == 3
    groups = groupby(rows, lambda row: row[1])  # the fourth epoch is incomplete
    for epoch, (number, group) in zip(epochs, groups, strict=False):
        group = np.array(list(group))
        assert epoch[:3] == (group[-1, 0], number, group[-1, 2])
        # Added in the same order.
        assert epoch[3:] == (sum(group[:, 3]) / len(group), sum(group[:, 4]) / len(group))


def test_run_json_describes_both_starts(resumed):
    folder, _, output = resumed
    content = json.loads((folder / "run.json").read_text())
    first, second = content["started"]
    assert first["iteration"] == 0
    assert f"resumed   {folder} after iteration {second['iteration']}\n" in output
    assert (first["front_end"], second["front_end"]) == ("Keras", "TensorLayer")
    assert "--resume" not in first["command"] and "--resume" in second["command"]
    assert content["settings"]["iterations"] == 60 and content["settings"]["dropout"] == 0.3
    assert content["network"] == {
        "name": "WRN-10-1",
        "parameters": 223610,
        "input_shape": [1, 16, 16, 3],
    }
    assert (content["data"]["training"], content["data"]["test"]) == (1200, 297)
    assert content["machine"]["versions"]["keras"] and content["machine"]["cores"] > 0
    assert content["device"].startswith(("CPU", "1 GPU"))


def test_results_are_recorded_printed_and_drawn(resumed):
    path, _, output = resumed
    content = json.loads((path / "test.json").read_text())
    matrix = np.array(content["confusion"])
    assert matrix.sum() == 297 and matrix.shape == (10, 10)
    assert np.trace(matrix) / 297 == content["test"]["accuracy"]
    assert content["test"]["loss"] != content["mirrored"]["loss"]
    for name, line in zip(("test", "mirrored"), output.splitlines()[-2:], strict=True):
        assert line.startswith(
            f"test      loss {content[name]['loss']:.6f}  accuracy "
            f"{content[name]['accuracy']:.4f}  (297 images"
        )
    rows = re.findall(r"^\| (\d) +\| +(\d+) \| +([01]\.\d{4}) \|", output, re.MULTILINE)
    assert {(int(name), int(count), float(share)) for name, count, share in rows} == {
        (row, count, round(matrix[row, row] / count, 4))
        for row, count in enumerate(matrix.sum(axis=1).tolist())
    }
    for name in ("curves", "confusion", "mistakes"):
        with Image.open(path / f"{name}.png") as image:
            assert image.format == "PNG" and len(image.getcolors(2**24)) > 20


def test_run_json_has_the_time_of_the_training(resumed):
    """Check the sums over both starts; the tenth percentiles are taken at each image size."""
    rows = np.array(list(RunFolder(resumed[0]).times.rows()))
    ended = json.loads((resumed[0] / "run.json").read_text())["ended"]
    assert rows[:, 0].tolist() == list(range(1, 61)) and (rows[:, 2] > 0).all()
    assert ended["iterations"] == 60 and ended["seconds"] == sum(rows[:, 2].tolist())
    expected = {}
    for size in dict.fromkeys(rows[:, 1].tolist()):
        times = np.sort(rows[rows[:, 1] == size, 2])
        place = (len(times) - 1) / 10
        low, high = times[int(place)], times[int(place) + 1]
        expected[f"{size:g}"] = low + (high - low) * (place - int(place))
    assert ended["tenth_percentile_seconds"] == pytest.approx(expected)
    counts = ended["iterations_by_size"]
    assert ended["undisturbed_seconds"] == pytest.approx(
        sum(counts[size] * seconds for size, seconds in expected.items())
    )


def test_a_run_that_an_earlier_version_began_has_no_time(tmp_path):
    (tmp_path / "run.json").write_text("5")  # damaged
    folder = RunFolder(tmp_path)
    folder.times.buffer(3, 1.0, 0.5)  # iterations 1 and 2 have no line
    record_end(folder, 3)
    ended = json.loads((tmp_path / "run.json").read_text())["ended"]
    assert ended.keys() == {"at", "iterations"} and ended["iterations"] == 3


def test_an_unreadable_table_of_times_is_a_warning(tmp_path):
    (tmp_path / "times.csv").mkdir()
    with pytest.warns(UserWarning, match="times.csv"):
        record_end(RunFolder(tmp_path), 3)
