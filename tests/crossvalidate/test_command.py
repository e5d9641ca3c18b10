"""Cross-validation: every sample is held out once, and the networks classify with their mean."""

import json

import numpy as np
import pytest

from tests.support.processes import run_command
from wrn3d import Dataset
from wrn3d.crossvalidate.__main__ import crossvalidate
from wrn3d.data.load import in_fold, load_dataset
from wrn3d.data.splitting import Fold
from wrn3d.evaluate.__main__ import EvaluateConfig, evaluate
from wrn3d.predict import Classifier
from wrn3d.system.errors import UsageError
from wrn3d.training.ensemble import open_network

NETWORK = ["--depth", 10, "--widen-factor", 1, "--batch-size", 8, "--learning-rate", 0.1]
COUNT = 36


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return a table of small volumes in two uneven classes, three for each patient."""
    folder = tmp_path_factory.mktemp("table")
    rng, lines = np.random.default_rng(0), ["path,label,group"]
    for row in range(COUNT):
        label = row // 3 % 3 == 0
        np.save(
            folder / f"{row}.npy", rng.integers(0, 120, (6, 8, 8)).astype(np.uint8) + 100 * label
        )
        lines.append(f"{row}.npy,{'ill' if label else 'healthy'},patient {row // 3}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def validated(table, tmp_path_factory):
    """Cross-validate; return the folder and what the command printed."""
    output = tmp_path_factory.mktemp("cv") / "cv"
    command = ("-m", "wrn3d.crossvalidate", "--folds", 3, "--output", output)
    script = ("cifar_wide_resnet_keras.py", "--dataset", table, *NETWORK, "--iterations", 6)
    process = run_command(*command, *script, "--evaluate")
    assert process.returncode == 0, process.stderr
    assert "test  " not in process.stdout and "unused" not in process.stdout
    return output, process.stdout


def test_each_sample_is_held_out_once_and_groups_stay_together(table):
    known = {}
    for number in range(3):
        data = load_dataset(table, fold=Fold(number, 3))
        assert len(data.train_labels) + len(data.validation_labels) == COUNT
        assert not len(data.test_labels)
        for volume in data.validation_volumes:
            key = volume[..., 0].tobytes()
            assert key not in known
            known[key] = number
    rows = [np.load(table.parent / f"{row}.npy").tobytes() for row in range(COUNT)]
    assert len(known) == COUNT
    assert all(len({known[key] for key in rows[row : row + 3]}) == 1 for row in range(0, COUNT, 3))


def test_folds_leave_the_test_split_alone(digits):
    whole = digits.with_validation(300)
    seen = []
    for number in range(4):
        data = in_fold(whole, Fold(number, 4))
        assert np.array_equal(data.test_volumes, digits.test_volumes)
        assert len(data.train_labels) + len(data.validation_labels) == 1500
        shares = np.bincount(data.validation_labels) / np.bincount(digits.train_labels)
        assert np.abs(shares - 0.25).max() < 0.02
        seen += [volume.tobytes() for volume in data.validation_volumes]
    assert sorted(seen) == sorted(volume.tobytes() for volume in digits.train_volumes)


@pytest.mark.slow
def test_the_held_out_predictions_are_summed_up(validated):
    output, printed = validated
    content = json.loads((output / "scores.json").read_text())
    assert content["validation"]["count"] == COUNT
    right = 0
    for number in range(3):
        path = output / f"fold-{number}" / "checkpoint-00000006.safetensors"
        classifier = Classifier(path)
        data = load_dataset(classifier.settings["dataset"], fold=Fold(number, 3))
        predicted = classifier(data.validation_volumes).argmax(axis=1)
        right += np.count_nonzero(predicted == data.validation_labels)
    assert content["validation"]["accuracy"] == pytest.approx(right / COUNT)
    assert "held-out samples of all 3 folds" in printed and "fold 3 of 3" in printed
    assert (output / "roc.png").exists()


@pytest.mark.slow
def test_the_mean_of_the_networks_classifies(validated, table):
    output, _ = validated
    volumes = np.stack([np.load(table.parent / f"{row}.npy") for row in range(4)])[..., None]
    ensemble = open_network(output)
    members = [Classifier(output / f"fold-{number}") for number in range(3)]
    expected = np.mean([member(volumes) for member in members], axis=0)
    assert np.array_equal(ensemble(volumes), expected)
    maps = np.mean([member.explain(volumes, 1) for member in members], axis=0)
    assert np.array_equal(ensemble.explain(volumes, 1), maps)
    process = run_command("-m", "wrn3d.predict", output, table.parent / "0.npy", "--json")
    assert process.returncode == 0, process.stderr
    [result] = json.loads(process.stdout)
    assert result["probabilities"]["ill"] == pytest.approx(expected[0, 1], abs=1e-6)


@pytest.mark.slow
def test_a_run_that_was_stopped_continues(validated, table):
    output, _ = validated
    for file in (output / "fold-2").glob("checkpoint-*"):
        file.unlink()
    script = ["cifar_wide_resnet_keras.py", "--dataset", table, *NETWORK, "--iterations", 6]
    process = run_command("-m", "wrn3d.crossvalidate", "--folds", 3, "--output", output, *script)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("nothing was left to train") == 2


@pytest.mark.parametrize(
    "folds, command, sentence",
    [
        (1, ["x.py"], "folds is 1, but must be a whole number from 2 up"),
        (3, [], "there is nothing to start: name a script, and its flags after it"),
        (3, ["nowhere.py"], "nowhere.py is neither a file nor a module"),
        (
            3,
            ["cifar_wide_resnet_tl.py", "--output", "x"],
            "--output belongs before the script, or",
        ),
        (
            3,
            ["cifar_wide_resnet_tl.py", "--fold=2"],
            "--fold=2 belongs before the script, or",
        ),
    ],
)
def test_wrong_commands_are_refused(tmp_path, folds, command, sentence):
    with pytest.raises(UsageError, match=sentence):
        crossvalidate(folds, tmp_path, tmp_path, command)


def test_a_class_with_too_few_samples_is_named():
    data = Dataset.from_arrays(np.zeros((9, 4, 4), np.uint8), [0, 0, 0, 0, 0, 0, 0, 1, 1])
    with pytest.raises(UsageError, match="the class '1' is in 2 of the groups"):
        in_fold(data, Fold(0, 3))


@pytest.mark.slow
def test_the_mean_of_the_networks_is_measured_on_other_data(validated, table, tmp_path, capsys):
    output, _ = validated
    rows = [
        f"{table.parent}/{row}.npy,{'ill' if row // 3 % 3 == 0 else 'healthy'}" for row in range(6)
    ]
    (tmp_path / "other.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.warns(UserWarning, match="6 of the 6 files, .* were in the run's training or vali"):
        assert evaluate(EvaluateConfig((output,), str(tmp_path / "other.csv"), json=True)) == 0
    found = json.loads(capsys.readouterr().out)["test"]
    volumes = np.stack([np.load(table.parent / f"{row}.npy") for row in range(6)])[..., None]
    shares = open_network(output)(volumes)
    labels = np.array([1, 1, 1, 0, 0, 0])
    assert found["accuracy"] == np.mean(shares.argmax(axis=1) == labels)
    assert found["loss"] == pytest.approx(-np.log(shares[np.arange(6), labels]).mean(), rel=1e-4)
    with pytest.raises(UsageError, match="is a cross-validation, whose held-out scores are in its"):
        evaluate(EvaluateConfig((output,)))
