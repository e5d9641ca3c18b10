"""Reading logs, and drawing the curves of one run or several."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.processes import run_command
from wrn3d.plot import PlotConfig, main, plot
from wrn3d.runs import curves
from wrn3d.runs.curves import POINTS, read_curves
from wrn3d.runs.folder import RunFolder
from wrn3d.system.errors import UsageError


def test_curves_are_the_numbers_of_the_logs(undisturbed):
    path, _ = undisturbed
    drawn, log = read_curves(path), RunFolder(path).log
    assert drawn.training["loss"].tolist() == list(log.column("loss").values())
    assert drawn.validation["iteration"].tolist() == [*range(7, 57, 7), 60]


def test_long_runs_are_drawn_as_means(tmp_path):
    log = RunFolder(tmp_path).log
    log.start(0)
    count = 3 * POINTS + 1  # the last point is of one iteration
    for iteration in range(1, count + 1):
        log.buffer(iteration, 1, 0.1, float(iteration % 4), 0.5)
    log.write()
    drawn = read_curves(tmp_path)
    losses = np.arange(1, count + 1) % 4
    expected = [losses[start : start + 4].mean() for start in range(0, count, 4)]
    assert np.allclose(drawn.training["loss"], expected, rtol=1e-15)
    assert len(drawn.training["iteration"]) <= POINTS and drawn.training["accuracy"].max() == 0.5


def test_runs_are_drawn_over_each_other(undisturbed, tmp_path):
    path, _ = undisturbed
    others = [tmp_path / name for name in ("$x^{$", "_x", "\x1b[31m", "\u65e5\u672c", "caf\udce9")]
    for other in others:
        shutil.copytree(path, other)
    target = tmp_path / "both.png"
    process = run_command("-m", "wrn3d.plot", path, path, *others, "--output", target)
    assert (process.returncode, process.stdout, process.stderr) == (0, f"{target}\n", "")
    with Image.open(target) as image:
        assert image.format == "PNG" and len(image.getcolors(2**24)) > 20


def test_titles_and_legends_say_run_splits_and_score(undisturbed, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    titles, named = [], []
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **_: titles.append(text))
    monkeypatch.setattr(curves, "add_legend", lambda panel, lines, **_: named.append([*lines]))
    path, _ = undisturbed
    log = RunFolder(path).validations.column("accuracy")
    best = max(log.values())
    iteration = next(number for number, accuracy in log.items() if accuracy == best)
    shutil.copytree(path, tmp_path / "bare", ignore=shutil.ignore_patterns("validation.csv"))
    loss = read_curves(path).training["loss"][-1]
    monkeypatch.chdir(path)
    runs = [read_curves("."), read_curves(tmp_path / "bare")]
    for some in (runs[:1], runs[1:], runs):
        curves.draw(some, tmp_path / "x.png")
    assert titles == [
        f"{path.name}, training and validation split: best validation accuracy {best:.4f} after "
        f"iteration {iteration}",
        f"bare, training split: last loss {loss:.4g}",
        "2 runs, training and validation split, with the best validation accuracy of each",
    ]
    assert named[2] == [f"{path.name}  {best:.4f}", "bare"]


def test_the_score_is_the_one_that_chooses_the_best_checkpoint(undisturbed, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **_: titles.append(text))
    shutil.copytree(undisturbed[0], tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["settings"]["best_by"] = "auc"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    areas = RunFolder(tmp_path / "run").validations.column("auc")
    best = max(areas, key=lambda one: (areas[one], -one))
    by_area, by_accuracy = read_curves(tmp_path / "run"), read_curves(undisturbed[0])
    assert by_area.best == (areas[best], best)
    curves.draw([by_area], tmp_path / "x.png")
    curves.draw([by_area, by_accuracy], tmp_path / "x.png")
    assert titles[0].endswith(f": best validation AUC {areas[best]:.4f} after iteration {best}")
    assert titles[1].endswith("with the best validation score of each")


@pytest.mark.parametrize(
    "folders, status, message",
    [
        (["nowhere"], 1, "nowhere holds no log of a run: name the --output folder of a run"),
        ([], 2, "no run is named: name the folder of at least one"),
    ],
)
def test_what_is_no_run_is_named(tmp_path, monkeypatch, capsys, folders, status, message):
    target = tmp_path / "x.png"
    monkeypatch.setattr(sys, "argv", ["plot", *folders, "--output", str(target)])
    assert main() == status
    assert capsys.readouterr().err == f"error: {message}\n" and not target.exists()


@pytest.mark.parametrize(
    "name, start",
    [
        ("x", b"\x89PNG"),
        ("x.png", b"\x89PNG"),
        ("x.PDF", b"%PDF"),
        ("x.svg", b"<?xml"),
        ("x.jpg", b"\xff\xd8"),
        ("x.webp", b"RIFF"),
    ],
)
def test_the_ending_decides_the_format(tmp_path, name, start):
    log = RunFolder(tmp_path).log
    log.start(0)
    log.buffer(1, 1, 0.1, 2.5, 0.5)
    log.write()
    plot(PlotConfig((tmp_path,), tmp_path / name))
    assert (tmp_path / name).read_bytes().startswith(start)


def test_an_unknown_format_is_refused_before_anything_is_read():
    with pytest.raises(UsageError, match="x.xyz ends in .xyz, but a picture must end in one of .p"):
        plot(PlotConfig((Path("nothing"),), Path("x.xyz")))
