"""Networks are measured on a data set, and compared with their cards."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.environments import environment_class, small_environment
from tests.support.processes import run_command
from wrn3d import Dataset
from wrn3d.evaluate.__main__ import EvaluateConfig, evaluate
from wrn3d.evaluate.card_check import difference
from wrn3d.system.errors import DataError, UsageError
from wrn3d.training import shipped
from wrn3d.training.checkpoint import slim

TRAINED = {"depth": 10, "widen_factor": 1, "batch_size": 32, "learning_rate": 0.1, "momentum": 0.9}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return an environment after some iterations on digits, and its checkpoint."""
    env = small_environment("keras", learning_rate=0.1, momentum=0.9, validation=100)
    for _ in range(40):
        env.step()
    path = tmp_path_factory.mktemp("run") / "x.safetensors"
    env.save(path)
    return env, path


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Return an environment for two uneven classes of volumes, its checkpoint and its data.

    Two of its test volumes are also in the training split.
    """
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    arrays = {}
    for name, count in (("train", 90), ("test", 40)):
        labels = np.arange(count) % 5 == 0
        noise = rng.integers(0, 120, (count, 6, 8, 8))
        arrays[f"{name}_images"] = (noise + 60 * labels[:, None, None, None]).astype(np.uint8)
        arrays[f"{name}_labels"] = labels.astype(np.int64)
    for row in (3, 10):
        arrays["test_images"][row] = arrays["train_images"][row]
    np.savez(folder / "x.npz", **arrays)
    with pytest.warns(UserWarning, match="2 of the 40 test volumes of x"):
        env = environment_class("tensorlayer")(dataset=str(folder / "x.npz"), **TRAINED)
    for _ in range(6):
        env.step()
    env.save(folder / "x.safetensors")
    return env, folder / "x.safetensors", arrays


def test_the_command_measures_what_the_run_does(run):
    env, path = run
    process = run_command("-m", "wrn3d.evaluate", path, "--json")
    assert (process.returncode, process.stderr) == (0, "")
    results = json.loads(process.stdout)
    assert results.keys() == {"test", "mirrored"}
    for name, mirror in (("test", False), ("mirrored", True)):
        exact, found = env.evaluate(mirror=mirror), results[name]
        assert found["count"] == 297 and found["accuracy"] == exact.accuracy
        assert found["loss"] == pytest.approx(exact.loss, rel=1e-4)
        low, high = found["intervals"]["accuracy"]
        assert low < found["accuracy"] < high < low + 0.15
        low, high = found["intervals"]["auc"]
        assert 0.5 < low < found["auc"] < high < 1
        assert found["classes"].keys() == set("0123456789")
        three = found["classes"]["3"]
        low, high = three["intervals"]["recall"]
        assert low <= three["recall"] <= high and 0 < three["precision"] < 1


@pytest.mark.parametrize("split, count", [("validation", 100), ("train", 1400)])
def test_the_other_splits_are_those_of_the_run(run, capsys, split, count):
    assert evaluate(EvaluateConfig((run[1],), split=split, json=True)) == 0
    result = json.loads(capsys.readouterr().out)[split]
    assert result["count"] == count and result["accuracy"] == run[0].evaluate(split).accuracy


@pytest.mark.filterwarnings("ignore:.*also occur in an earlier split")
def test_uneven_classes_and_duplicates_give_more_scores(volumes, capsys):
    env, path, arrays = volumes
    assert evaluate(EvaluateConfig((path,))) == 0
    measured, first, second = capsys.readouterr().out.split("\n\n")
    assert measured == str(path)
    titles, _, *rows = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in first.splitlines()
    )
    scores = ["accuracy", "balanced accuracy", "AUC", "calibration error"]
    assert titles == ["measured", "volumes", *scores]
    assert second.startswith("| class | volumes |") and len(second.splitlines()) == 4
    assert [row[0] for row in rows] == [
        "test",
        "test, with mirror images",
        "test, without duplicates",
        "test, with mirror images, without duplicates",
    ]
    assert [row[1] for row in rows] == ["40", "40", "38", "38"]
    exact = env.evaluate()
    assert rows[0][2].startswith(f"{100 * exact.accuracy:.2f} % (")
    assert rows[0][4].startswith(f"{exact.auc:.3f} (")
    kept = np.delete(np.arange(40), [3, 10])
    right = env.predict_split().classes[kept] == arrays["test_labels"][kept]
    assert rows[2][2].startswith(f"{100 * right.mean():.2f} % (")


@pytest.mark.filterwarnings("ignore:.*also occur in an earlier split")
def test_other_data_are_normalised_as_in_the_training(volumes, tmp_path, capsys):
    _, path, arrays = volumes
    brighter = {
        name: array + np.uint8(60) if "train_images" in name else array
        for name, array in arrays.items()
    }
    np.savez(tmp_path / "brighter.npz", **brighter)
    results = []
    for dataset in (None, str(tmp_path / "brighter.npz")):
        evaluate(EvaluateConfig((path,), dataset, json=True))
        results.append(json.loads(capsys.readouterr().out)["test"])
    assert results[0] == results[1]  # the mean of other training volumes has no effect


def test_data_that_do_not_fit_are_named(run, volumes, tmp_path):
    with pytest.raises(UsageError, match=r"^x has volumes \(12, 16, 16, 1\) and 2 classes, "):
        evaluate(EvaluateConfig((run[1],), str(volumes[1].with_suffix(".npz"))))
    images = np.zeros((8, 8, 8), np.uint8)
    own = Dataset.from_arrays(images, np.arange(8) % 2, title="mine")
    small_environment("keras", data=own, batch_size=4).save(tmp_path / "own.safetensors")
    with pytest.raises(DataError, match="own.safetensors was trained on mine, which cannot be l"):
        evaluate(EvaluateConfig((tmp_path / "own.safetensors",)))
    own = Dataset.from_arrays(images, np.arange(8) % 2, title="digits")
    small_environment("keras", data=own, batch_size=4).save(tmp_path / "own.safetensors")
    with pytest.warns(UserWarning, match="^digits has the classes '0', '1', '2', ..., but the net"):
        state = run[0].snapshot()
        other = state.config | {"classes": list("abcdefghij")}
        replace(state, config=other).save(tmp_path / "letters.safetensors")
        assert evaluate(EvaluateConfig((tmp_path / "letters.safetensors",), "digits")) == 0
    missing = state.config | {"dataset": "gone.npz"}
    replace(state, config=missing).save(tmp_path / "gone.safetensors")
    with pytest.raises(DataError, match="gone.safetensors was trained on gone.npz, which cannot"):
        evaluate(EvaluateConfig((tmp_path / "gone.safetensors",)))
    with pytest.raises(DataError, match="holds other data than .*own.safetensors was trained on"):
        evaluate(EvaluateConfig((tmp_path / "own.safetensors",)))


def test_a_card_is_right_or_wrong(run, tmp_path, monkeypatch, capsys):
    state = run[0].snapshot()
    slim(state, state.config).save(tmp_path / "small.safetensors")
    monkeypatch.setattr(shipped, "FOLDERS", (tmp_path,))
    monkeypatch.chdir(tmp_path)
    card = tmp_path / "small.md"
    assert evaluate(EvaluateConfig((Path("small"),))) == 0
    table, said = capsys.readouterr()
    table = table.split("\n\n")[1]
    assert said == ""
    card.write_text(f"# small\n\n{table}\n| of | the 297 (297) |\nText.\n")
    assert evaluate(EvaluateConfig((Path("small"),), json=True)) == 0
    out, said = capsys.readouterr()
    assert json.loads(out) and said == f"card       {card} is right\n"
    right = table.splitlines()[2].split("|")[3].split()[0]
    card.write_text(card.read_text().replace(right, f"{float(right) - 3:.2f}", 1))
    assert evaluate(EvaluateConfig((tmp_path / "small.safetensors",))) == 1
    assert f"{card} has other scores: test: {float(right) - 3:.2f} % (" in capsys.readouterr().err
    assert evaluate(EvaluateConfig((Path("small"),), split="train")) == 0  # not on cards
    other = run[0].snapshot().config | {"data": "another"}
    slim(state, other).save(tmp_path / "small.safetensors")
    assert evaluate(EvaluateConfig((Path("small"),), "digits")) == 0
    assert "is about other data: not compared" in capsys.readouterr().err


def test_a_tenth_of_an_interval_is_the_same():
    table = (
        "| measured | volumes | AUC |\n|---|---:|---:|\n| test | 1,040 | 0.900 (0.850 to 0.950) |"
    )
    assert not difference(table, table)
    assert not difference(table, table.replace("0.900", "0.909"))
    assert difference(table, table.replace("0.900", "0.911")) == (
        "test: 0.900 (0.850 to 0.950), but here 0.911 (0.850 to 0.950)"
    )
    assert difference(table.replace("0.850", "0.100"), table)  # no card sets its own tolerance
    assert difference(table, table.replace("0.850", "0.870"))
    assert difference(table, table.replace("1,040", "1,039")) == "test: 1,040, but here 1,039"
    assert difference(table.replace("1,040", "many"), table) == "test: many, but here 1,040"
    assert difference("no table", table) == "none instead of test"
    assert difference(f"{table}\n{table.splitlines()[2].replace('test', 'other')}", table) == (
        "test, other instead of test"
    )


def test_two_networks_are_compared(run, tmp_path):
    env, path = run
    before = env.snapshot()
    for _ in range(20):
        env.step()
    env.save(tmp_path / "longer.safetensors")
    env.restore(before)
    arguments = ("-m", "wrn3d.evaluate", path, tmp_path / "longer.safetensors")
    process = run_command(*arguments, "--output", tmp_path / "out")
    assert (process.returncode, process.stderr) == (0, "")
    *_, table, test = process.stdout.split("\n\n")
    assert "second - first" in table.splitlines()[0] and len(table.splitlines()) == 6
    assert "McNemar's exact test gives p = " in test
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert content.keys() == {"first", "second", "comparison"}
    compared = content["comparison"]["test"]
    accuracies = [content[name]["test"]["accuracy"] for name in ("first", "second")]
    assert compared["differences"]["accuracy"] == accuracies[1] - accuracies[0]
    assert compared["won"] - compared["lost"] == round(297 * (accuracies[1] - accuracies[0]))
    names = {"confusion.png", "mistakes.png", "roc.png", "reliability.png", "predictions.csv"}
    assert {one.name for one in (tmp_path / "out").iterdir()} == {
        *names,
        *(f"second-{name}" for name in names),
        "scores.json",
    }


def test_three_networks_are_too_many(run):
    with pytest.raises(UsageError, match="3 networks are named, but must be one, or two to comp"):
        evaluate(EvaluateConfig((run[1],) * 3))
