"""A run on a table of files is measured on its own splits, and on tables that came later."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.processes import run_command
from wrn3d.evaluate.__main__ import EvaluateConfig, evaluate
from wrn3d.system.errors import DataError, UsageError

SPLIT_WORDS = ("train", "val", "test")
FLAGS = ["--depth", 10, "--widen-factor", 1, "--batch-size", 16, "--iterations", 4]
FLAGS += ["--save-every", 4, "--evaluate", "--learning-rate", 0.1]


def write_table(path, rows, columns="path,label,group"):
    path.write_text("\n".join([columns, *rows]) + "\n")
    return str(path)


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with labels.csv, whose splits were drawn, a run, and what it printed.

    Of the 90 arrays every third is ill, and three belong to a patient.
    """
    folder = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(0)
    for row in range(120):
        ill = 60 * (row % 9 < 3)
        np.save(folder / f"{row}.npy", (rng.integers(0, 120, (8, 8, 8)) + ill).astype(np.uint8))
    rows = [f"{row}.npy,{'ill' if row % 9 < 3 else 'healthy'},p{row // 3}" for row in range(90)]
    table = write_table(folder / "labels.csv", rows)
    process = run_command(
        "cifar_wide_resnet_keras.py", "--dataset", table, "--output", folder / "run", *FLAGS
    )
    assert process.returncode == 0, process.stderr
    return folder, folder / "run", process.stdout


def test_a_run_says_which_files_it_saw(trained):
    folder, run, output = trained
    rows = rows_of(run / "files.csv")
    train = [row for row in rows if row["split"] == "train"]
    counts = [sum(row["label"] == label for row in train) for label in ("healthy", "ill")]
    assert f"classes   healthy {counts[0]}, ill {counts[1]}\n" in output
    groups = [len({row["group"] for row in rows if row["split"] == name}) for name in SPLIT_WORDS]
    assert f", {groups[0]} + {groups[1]} + {groups[2]} groups" in output
    assert {row["path"] for row in rows} == {f"{folder}/{number}.npy" for number in range(90)}
    splits = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    assert len(splits) == 30 and all(len(one) == 1 for one in splits.values())
    with Image.open(run / "mistakes.png") as picture:
        assert picture.format == "PNG"


def test_a_table_that_moved_has_its_own_splits(trained, tmp_path, capsys):
    folder, run, _ = trained
    evaluate(EvaluateConfig((run,), json=True))
    before = json.loads(capsys.readouterr().out)
    shutil.copytree(folder, tmp_path / "moved", ignore=shutil.ignore_patterns("run"))
    evaluate(EvaluateConfig((run,), str(tmp_path / "moved" / "labels.csv"), json=True))
    assert json.loads(capsys.readouterr().out) == before


def test_classes_in_another_order_are_not_compared(trained, tmp_path):
    folder, run, _ = trained
    flags = ["--dataset", folder / "labels.csv", "--class-names", "ill", "healthy", *FLAGS]
    process = run_command("cifar_wide_resnet_keras.py", *flags, "--output", tmp_path / "turned")
    assert process.returncode == 0, process.stderr
    with pytest.raises(UsageError, match="as their classes are others or in another order"):
        evaluate(EvaluateConfig((run, tmp_path / "turned")))


def test_predictions_are_listed_by_file(trained, tmp_path, capsys):
    _, run, _ = trained
    assert evaluate(EvaluateConfig((run,), output=tmp_path, json=True)) == 0
    result = json.loads(capsys.readouterr().out)["test"]
    rows = rows_of(tmp_path / "predictions.csv")
    tested = [row["path"] for row in rows_of(run / "files.csv") if row["split"] == "test"]
    assert [row["path"] for row in rows] == tested and len(tested) == result["count"]
    assert result["groups"] == len({row["group"] for row in rows}) < len(rows)
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert right == pytest.approx(result["accuracy"])
    for row in rows:
        assert row["group"] == f"p{int(Path(row['path']).stem) // 3}"
        shares = {name: float(row[f"probability of {name}"]) for name in ("healthy", "ill")}
        assert sum(shares.values()) == pytest.approx(1)
        assert max(shares, key=shares.get) == row["predicted"]


def test_a_table_that_changed_is_refused_and_its_splits_are_kept(trained, tmp_path, capsys):
    folder, run, _ = trained
    scores = []
    table = folder / "labels.csv"
    before = table.read_text()
    for dataset in (None, str(table), str(run / "files.csv")):
        evaluate(EvaluateConfig((run,), dataset, json=True))
        scores.append(json.loads(capsys.readouterr().out)["test"])
    assert scores[0] == scores[1] == scores[2]
    table.write_text(before + "".join(f"{row}.npy,ill,p{row // 3}\n" for row in range(90, 96)))
    try:
        for dataset in (None, str(table)):
            with pytest.raises(DataError, match="and --dataset, such as .*/files.csv"):
                evaluate(EvaluateConfig((run,), dataset))
    finally:
        table.write_text(before)


def test_another_table_is_measured_as_a_whole(trained, capsys):
    folder, run, _ = trained
    rows = [f"{row}.npy,ill,p{row // 3}" for row in range(90, 120)]
    table = write_table(folder / "external.csv", rows)
    assert evaluate(EvaluateConfig((run,), table, json=True)) == 0
    result = json.loads(capsys.readouterr().out)["test"]
    assert result["count"] == 30 and result["auc"] is None  # only one class
    write_table(folder / "external.csv", ["91.npy,dead"], "path,label")
    with pytest.raises(
        DataError, match="has the label 'dead' in line 2, but the classes are 'heal"
    ):
        evaluate(EvaluateConfig((run,), table))


def test_files_that_the_run_has_seen_are_counted(trained, capsys):
    folder, run, _ = trained
    seen = [row for row in rows_of(run / "files.csv") if row["split"] != "test"]
    groups = {row: f"new {row}" for row in range(90, 100)} | {95: seen[0]["group"]}
    rows = [f"{row}.npy,ill,{group}" for row, group in groups.items()]
    rows += [f"{row['path']},{row['label']},{row['group']}" for row in seen[1:5]]
    table = write_table(folder / "mixed.csv", rows)
    with pytest.warns(UserWarning, match=r"5 of the 14 files, or files of groups with the same na"):
        assert evaluate(EvaluateConfig((run,), table, json=True)) == 0


def test_a_file_with_one_split_is_measured(trained, tmp_path, capsys):
    folder, run, _ = trained
    volumes = np.stack([np.load(folder / f"{row}.npy") for row in range(90, 100)])
    labels = np.arange(10) % 2
    np.savez(tmp_path / "x.npz", test_images=volumes, test_labels=labels)
    assert evaluate(EvaluateConfig((run,), str(tmp_path / "x.npz"), json=True)) == 0
    assert json.loads(capsys.readouterr().out)["test"]["classes"].keys() == {"healthy", "ill"}
    with pytest.raises(DataError, match="it lacks train_images, train_labels: it needs train_imag"):
        evaluate(EvaluateConfig((run,), str(tmp_path / "x.npz"), split="train"))
