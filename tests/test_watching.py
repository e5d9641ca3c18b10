"""What people see of a run: curves, epochs, TensorBoard's events, mistakes, run.json, test.json."""

import json
import re
import shutil
import sys
import warnings
from itertools import groupby

import numpy as np
import pytest
from PIL import Image

from tests.support.environments import small_environment
from tests.support.processes import run_command, run_python, run_script
from tests.support.runs import FULL, SMALL, files_end_at, train
from wrn3d.runs import events, watch
from wrn3d.runs.curves import POINTS, read_curves
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.mistakes import class_table, confusion_matrix, draw_confusion, draw_worst
from wrn3d.system.errors import DataError
from wrn3d.training.evaluation import Predictions


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(the folder of a run that has ended, what it printed), stopped and gone on with once."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    first = run_script("tensorlayer", *FULL, "--mirror", "--iterations", "50", "--output", path)
    second = run_script("keras", *FULL, "--mirror", "--output", path, "--resume", "--epochs", "2")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    return path, second.stdout


def is_picture(path, width=500):
    with Image.open(path) as image:
        image.load()
        return image.format == "PNG" and image.width >= width and len(image.getcolors(2**24)) > 20


def test_epochs_are_the_means_of_their_iterations(finished):
    folder = RunFolder(finished[0])
    rows, epochs = list(folder.log.rows()), list(folder.epochs.rows())
    assert [row[0] for row in rows] == list(range(1, 75)) and len(epochs) == 2  # 37 in an epoch
    for epoch, (number, group) in zip(epochs, groupby(rows, lambda row: row[1]), strict=True):
        group = np.array(list(group))
        assert epoch[:3] == (group[-1, 0], number, group[-1, 2])
        # The sums are taken in the same order.
        assert epoch[3:] == (sum(group[:, 3]) / len(group), sum(group[:, 4]) / len(group))


def test_run_json_says_what_was_run_on_what(finished):
    found = json.loads((finished[0] / "run.json").read_text())
    assert [start["iteration"] for start in found["started"]] == [0, 50]
    assert found["settings"]["epochs"] == 2 and found["settings"]["dropout"] == 0.3
    assert found["network"] == {
        "name": "WRN-10-1",
        "parameters": 223610,
        "input_shape": [1, 16, 16, 3],
    }
    assert (found["data"]["training"], found["data"]["test"]) == (1200, 297)
    assert found["machine"]["versions"]["keras"] and found["machine"]["cores"] > 0
    first, second = found["started"]
    assert (first["front_end"], second["front_end"]) == ("TensorLayer", "Keras")
    assert "--resume" not in first["command"] and "--resume" in second["command"]
    assert found["device"].startswith(("CPU", "1 GPU"))


def test_what_came_of_it_is_told_printed_and_drawn(finished):
    path, printed = finished
    found = json.loads((path / "test.json").read_text())
    matrix = np.array(found["confusion"])
    assert matrix.sum() == 297 and matrix.shape == (10, 10)
    assert np.trace(matrix) / 297 == found["test"]["accuracy"]
    for name, line in zip(("test", "mirrored"), printed.splitlines()[-2:], strict=True):
        assert line.startswith(
            f"test      loss {found[name]['loss']:.6f}  accuracy "
            f"{found[name]['accuracy']:.4f}  (297 images"
        )
    rows = re.findall(r"^\| (\d) +\| +(\d+) \| +([01]\.\d{4}) \|", printed, re.MULTILINE)
    assert {(int(name), int(count), float(share)) for name, count, share in rows} == {
        (row, count, round(matrix[row, row] / count, 4))
        for row, count in enumerate(matrix.sum(axis=1).tolist())
    }
    assert all(is_picture(path / f"{name}.png") for name in ("curves", "confusion", "mistakes"))


def test_curves_are_what_the_logs_hold(finished):
    path, _ = finished
    found = read_curves(path)
    losses = RunFolder(path).log.column("loss")
    assert found.training["loss"].tolist() == list(losses.values())
    assert found.validation["iteration"].tolist() == sorted({*range(7, 75, 7), 50, 74})


def test_long_runs_are_drawn_as_means(tmp_path):
    log = RunFolder(tmp_path).log
    log.start(0)
    count = 3 * POINTS + 1  # the last point is of a single iteration
    for iteration in range(1, count + 1):
        log.hold(iteration, 1, 0.1, float(iteration % 4), 0.5)
    log.write()
    found = read_curves(tmp_path)
    losses = np.arange(1, count + 1) % 4
    expected = [losses[start : start + 4].mean() for start in range(0, count, 4)]
    assert np.allclose(found.training["loss"], expected, rtol=1e-15)
    assert len(found.training["iteration"]) <= POINTS and found.training["accuracy"].max() == 0.5


def test_runs_are_drawn_over_each_other(finished, tmp_path):
    path, _ = finished
    others = [tmp_path / name for name in ("$x^{$", "_x", "\x1b[31m", "\u65e5\u672c", "caf\udce9")]
    for other in others:
        shutil.copytree(path, other)
    target = tmp_path / "both.png"
    process = run_command("-m", "wrn3d.plot", path, path, *others, "--output", target)
    assert (process.returncode, process.stdout, process.stderr) == (0, f"{target}\n", "")
    assert is_picture(target)


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (
            ["nowhere"],
            1,
            "error: nowhere holds no log of a run: name the folder that --output named\n",
        ),
        ([], 2, "error: no runs are named: name the folders of some\n"),
    ],
)
def test_what_is_no_run_is_said(tmp_path, arguments, status, said):
    process = run_command("-m", "wrn3d.plot", *arguments, "--output", tmp_path / "x.png")
    assert (process.returncode, process.stderr) == (status, said)
    assert not (tmp_path / "x.png").exists()


def read_events(path):
    """{tag: {step: value}} as TensorBoard has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    return {
        tag: {event.step: event.value for event in found.Scalars(tag)}
        for tag in found.Tags()["scalars"]
    }


def test_tensorboard_reads_the_events_of_both_halves(finished):
    path, _ = finished
    found = read_events(path)
    folder = RunFolder(path)
    rows = list(folder.log.rows())
    assert found["loss"] == {row[0]: np.float32(row[3]) for row in rows}
    assert found["learning rate"] == {row[0]: np.float32(row[2]) for row in rows}
    assert found["validation accuracy"] == {
        step: np.float32(number) for step, number in folder.validations.column("accuracy").items()
    }


def test_events_beyond_the_point_that_a_run_goes_back_to_no_longer_count(tmp_path):
    first = events.Events(tmp_path, 0)
    for iteration in range(1, 9):
        first.add(iteration, {"loss": 1.0})
    second = events.Events(tmp_path, 5)
    second.add(6, {"loss": 2.0})
    assert read_events(tmp_path)["loss"] == dict.fromkeys(range(1, 6), 1.0) | {6: 2.0}


def test_without_tensorboard_a_run_says_how_to_have_it(tmp_path):
    """A package of that name that is none: `find_spec` finds nothing."""
    program = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'tensorboard' "
        "else find(name, *rest)\n"
        "from cifar_wide_resnet_keras import CNNEnv\n"
        "from wrn3d.runs.command import main\n"
        "sys.exit(main(CNNEnv, 'x'))"
    )
    process = run_python("-c", program, *SMALL, "--output", tmp_path / "run")
    assert process.returncode == 0
    assert process.stdout.count("pip install tensorboard") == 1
    assert not list((tmp_path / "run").glob("events*")) and (tmp_path / "run/curves.png").exists()


def test_what_cannot_be_drawn_or_noted_is_said_once_and_the_run_goes_on(tmp_path, monkeypatch):
    env, path = small_environment("keras"), tmp_path / "run"
    monkeypatch.setattr(watch, "FIRST", 0.0)
    monkeypatch.setattr(watch, "SHARE", 1e9)  # draws every time
    with files_end_at(30_000), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="cannot be written"):  # the last checkpoint
            train(env, path, 40, save_every=10)
    said = [str(warning.message) for warning in said]
    assert len([line for line in said if line.startswith("curves.png is not renewed (")]) == 1
    assert env.iteration == 40 and not (path / "curves.png").exists()


def test_events_end_where_the_disk_does(tmp_path):
    with files_end_at(400):
        written = events.Events(tmp_path, 0)
        with pytest.warns(
            UserWarning,
            match=r"TensorBoard's events end at iteration \d, the run "
            r"goes on: no space left",
        ) as said:
            for iteration in range(1, 10):
                written.add(iteration, {"loss": 0.5, "accuracy": 0.25})
    written.add(10, {"loss": 0.5})  # room again: what is there stays readable
    assert len(said) == 1
    steps = list(read_events(tmp_path)["loss"])
    assert steps == list(range(1, len(steps) + 1)) and 1 <= len(steps) < 9


def test_something_else_called_tensorboard_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)  # cannot be imported
    with pytest.warns(UserWarning, match="TensorBoard's events end at iteration 3"):
        events.Events(tmp_path, 3).add(4, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def predictions():
    """Of 200 volumes of three classes, the last of which none has."""
    draw = np.random.default_rng(0)
    scores = draw.standard_normal((200, 4))
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return Predictions(scores, draw.integers(0, 3, 200))


def test_the_confusion_matrix_is_scikit_learns(predictions):
    from sklearn.metrics import confusion_matrix as reference

    expected = reference(predictions.labels, predictions.classes, labels=range(4))
    assert np.array_equal(confusion_matrix(predictions, 4), expected)


def test_classes_are_told_the_worst_first():
    matrix = np.array([[9, 1, 0, 0], [2, 5, 3, 0], [0, 0, 4, 0], [0, 0, 0, 0]])
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in class_table(matrix, ["a", "b\x1b[31m", "c", "d"]).splitlines()
    ]
    assert rows[2:] == [
        ["b?[31m", "10", "0.5000", "c (30.0%)"],
        ["a", "10", "0.9000", "b?[31m (10.0%)"],
        ["c", "4", "1.0000", "-"],
    ]
    many = class_table(np.eye(100, dtype=int), [str(number) for number in range(100)])
    assert len(many.splitlines()) == 22 and many.startswith("| the worst 20 classes |")


@pytest.mark.parametrize("shape", [(1, 8, 9, 3), (5, 8, 9, 1)])
def test_the_most_confidently_wrong_are_drawn(tmp_path, predictions, shape, monkeypatch):
    from matplotlib.axes import Axes

    shown, titles = [], []
    monkeypatch.setattr(Axes, "imshow", lambda self, picture, **_: shown.append(picture))
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **_: titles.append(text))
    volumes = np.random.default_rng(1).integers(0, 256, (200, *shape), np.uint8)
    draw_worst(volumes, predictions, "abcd", tmp_path / "worst.png")
    confidence = np.exp(predictions.log_probabilities)
    wrong = np.flatnonzero(predictions.classes != predictions.labels)
    expected = sorted(wrong, key=lambda row: -confidence[row].max())[:24]
    assert len(shown) == 24
    for row, picture, title in zip(expected, shown, titles, strict=True):
        assert np.array_equal(picture, volumes[row, shape[0] // 2].squeeze())
        assert title == (
            f"{'abcd'[predictions.classes[row]]} ({confidence[row].max():.1%})\n"
            f"instead of {'abcd'[predictions.labels[row]]}"
        )


def test_pictures_come_of_no_mistakes_and_of_many_classes(tmp_path):
    perfect = Predictions(np.log(np.eye(4) + 1e-9), np.arange(4))
    draw_worst(np.zeros((4, 1, 2, 2, 1), np.uint8), perfect, "abcd", tmp_path / "none.png")
    draw_confusion(
        np.diag(np.arange(200)), [str(number) for number in range(200)], tmp_path / "many.png"
    )
    assert is_picture(tmp_path / "many.png") and (tmp_path / "none.png").stat().st_size > 1000


def test_class_names_may_be_anything_that_a_folder_can_be_called(tmp_path, predictions):
    names = ["$x^{$", "_x\x1b[31m", "caf\udce9 \u65e5\u672c", "a|b" * 80]
    matrix = confusion_matrix(predictions, 4)
    draw_confusion(matrix, names, tmp_path / "confusion.png")
    volumes = np.zeros((200, 1, 4, 4, 3), np.uint8)
    draw_worst(volumes, predictions, names, tmp_path / "worst.png")
    assert is_picture(tmp_path / "confusion.png") and is_picture(tmp_path / "worst.png")
    lines = class_table(matrix, names).splitlines()
    assert all(line.count("|") == 5 and line.isprintable() for line in lines)


def test_a_run_stops_before_it_has_anything_to_show(tmp_path):
    (tmp_path / "log.csv").write_text("iteration,epoch,learning_rate,loss,accuracy\n")
    watch.Watch(tmp_path).renew(must=True)  # without a warning, which would be an error
    assert not (tmp_path / "curves.png").exists()


def test_another_versions_log_is_left_as_it_is(tmp_path):
    older = "iteration,learning_rate,loss,accuracy\n1,0.1,2.5,0.5\n"
    (tmp_path / "log.csv").write_text(older)
    with pytest.raises(DataError, match="log.csv has other columns than this version's"):
        RunFolder(tmp_path).log.start(0)
    assert (tmp_path / "log.csv").read_text() == older
