"""Cards, weights and tables are written from the files of real runs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import cards.__main__ as command
from cards import networks, tables
from cards.networks import ShippedNetwork
from cards.runs import Run, as_time, read_runs
from tests.support.processes import run_script
from tests.support.runs import rounded
from wrn3d import Checkpoint
from wrn3d.system.errors import DataError, MissingDataError, UsageError
from wrn3d.training import shipped

SMALL = ("--dataset", "digits", "--volume-size", "8", "--depth", "10", "--widen-factor", "1")
KEPT = ("run.json", "test.json", "validation.csv")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a folder of two finished runs, the second of them by the Keras script."""
    folder = tmp_path_factory.mktemp("runs")
    settings = ("--learning-rate", "0.1", "--iterations", "30", "--validation", "200")
    for seed, front_end in enumerate(("tensorlayer", "keras")):
        output = ("--output", folder / f"digits-{seed}", "--evaluate", "--mirror")
        flags = (*SMALL, *settings, "--seed", seed, "--shortcut", "projection", *output)
        process = run_script(front_end, *flags)
        assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture
def project(runs, tmp_path, monkeypatch):
    """Return a folder like the project's, with the files that the runs keep and empty pages."""
    for run in runs.iterdir():
        kept = tmp_path / "docs" / "results" / run.name
        kept.mkdir(parents=True)
        for name in KEPT:
            shutil.copy(run / name, kept)
    (tmp_path / "weights").mkdir()
    page = "Before\n<!-- {} -->\nold\n<!-- end -->\nAfter\n"
    pages = "".join(map(page.format, ("images", "volumes")))
    (tmp_path / "docs" / "results.md").write_text(pages)
    (tmp_path / "README.md").write_text(page.format("results"))
    for name, value in {
        "ROOT": tmp_path,
        "RESULTS": tmp_path / "docs" / "results",
        "WEIGHTS": tmp_path / "weights",
        "read_networks": lambda: [ShippedNetwork("digits", "digits-", *["text"] * 4)],
    }.items():
        monkeypatch.setattr(command, name, value)
    monkeypatch.setattr(tables, "IMAGES", ("digits",))
    monkeypatch.setattr(shipped, "FOLDERS", (tmp_path / "weights",))
    return tmp_path


def test_the_best_run_on_the_validation_split_ships(runs, project):
    found = read_runs(project / "docs" / "results")
    assert [run.name for run in found] == ["digits-0", "digits-1"]
    network = ShippedNetwork("digits", "digits-", *["text"] * 4)
    scores = [run.validation["accuracy"] for run in found]
    last = (runs / "digits-1" / "validation.csv").read_text().splitlines()[-1].split(",")
    assert scores[1] == float(last[2])
    assert network.chosen(found) is found[int(np.argmax(scores))]
    for run in found:
        run.validation = {}
        run.test["test"]["accuracy"] = run.seed
    assert network.chosen(found) is found[1]
    assert network.chosen([]) is None


def test_everything_is_written_from_the_runs(runs, project, monkeypatch):
    command.write(command.CardsConfig(runs, project))
    card = (project / "weights" / "digits.md").read_text()
    chosen = command.read_networks()[0].chosen(read_runs(project / "docs" / "results"))
    run = json.loads((runs / chosen.name / "run.json").read_text())
    assert f"| [{chosen.name}](../docs/results/{chosen.name}/log.txt), {chosen.front_end}" in card
    assert f"{run['network']['parameters']:,} parameters; takes 1x8x8x3" in card
    assert f"had an accuracy of {100 * chosen.test['test']['accuracy']:.2f} %." in card
    assert "are predicted as" in card and "--iterations 30" in card

    stored = Checkpoint.load("digits")
    exact = Checkpoint.load(runs / chosen.name / "checkpoint-00000030.safetensors")
    for name, array in rounded(exact.weights).items():
        assert np.array_equal(stored.weights[name], array), name

    page = (project / "docs" / "results.md").read_text()
    assert "old" not in page and page.count("Before") == page.count("After") == 2
    for seed in (0, 1):
        test = json.loads((runs / f"digits-{seed}" / "test.json").read_text())
        assert f" {100 * test['test']['accuracy']:.2f} % |" in page
        assert f"results/digits-{seed}/log.txt" in page
    assert "| digits " in (project / "README.md").read_text()

    # Without data the scores stay, whatever the card's other parts become.
    monkeypatch.setattr(command, "_measure", None)
    before = card
    command.write(command.CardsConfig())
    assert (project / "weights" / "digits.md").read_text() == before


def test_a_card_without_scores_needs_data(runs, project):
    networks.write_weights(
        Run(project / "docs" / "results" / "digits-0"), runs / "digits-0", project / "x.safetensors"
    )
    (project / "x.safetensors").rename(project / "weights" / "digits.safetensors")
    with pytest.raises(MissingDataError, match="digits.md has no scores: name the folder of the"):
        command.write(command.CardsConfig())
    with pytest.raises(MissingDataError, match="safetensors does not exist: name the folder of th"):
        command.write(command.CardsConfig(project, project))
    (project / "weights" / "digits.safetensors").unlink()
    with pytest.raises(MissingDataError, match="digits.safetensors does not exist .*: name the f"):
        command.write(command.CardsConfig())
    with pytest.raises(UsageError, match="^new weights need new scores"):
        command.write(command.CardsConfig(runs=runs))


def test_other_data_of_the_same_name_give_no_scores(runs, project, monkeypatch):
    (project / "weights" / "digits.md").write_text("| measured | accuracy |\n\n")

    def write_for_other_data(run, folder, target):
        networks.write_weights(run, folder, target)
        written = Checkpoint.load(target)
        replace(written, config=written.config | {"data": "another"}).save(target)

    monkeypatch.setattr(command, "write_weights", write_for_other_data)
    with pytest.raises(
        DataError, match="holds other data than .*digits.safetensors was trained on"
    ):
        command.write(command.CardsConfig(runs, project))
    # The new weights have no scores yet, so no card can show old ones.
    assert not (project / "weights" / "digits.md").exists()


def test_a_page_needs_one_place_for_each_table(project):
    with pytest.raises(DataError, match="README.md has 0 places <!-- images --> for a table"):
        tables.put(project / "README.md", {"images": "| x |"})


def volume_run(seed, auc, duplicates):
    """Return what the tables read of a run on volumes."""
    run = Run.__new__(Run)
    result = {"auc": auc, "accuracy": 0.5, "balanced_accuracy": 0.25, "count": 30}
    run.test = dict.fromkeys(("test", "mirrored"), result)
    if duplicates:
        run.test |= {
            f"{way}_unique": result | {"auc": auc - 0.1, "count": 30 - duplicates}
            for way in ("test", "mirrored")
        }
    run.test["at"] = f"2026-01-0{seed + 1}T01:10:00+0000"
    run.settings = {"dataset": "../x/modelnet10_32.npz", "epochs": 4}
    run.name, run.seed, run.front_end = f"modelnet10-{seed}", seed, "Keras"
    run.start = {
        "started": [{"at": f"2026-01-0{seed + 1}T00:00:00+0000"}],
        "ended": {"undisturbed_seconds": 600.0},
        "network": {"name": "WRN-16-1"},
    }
    return run


def test_means_of_volumes_are_with_and_without_duplicates():
    found = [volume_run(seed, auc, duplicates=4) for seed, auc in enumerate((0.8, 0.9, 0.7))]
    *rows, mean, unique = tables.volumes_table(found).splitlines()[2:]
    assert len(rows) == 3 and " 1 h 10 min |" in rows[0] and " 10 min | [log](" in rows[0]
    assert "mean ± standard deviation" in mean and "| 0.800 ± 0.100 |" in mean
    assert "without 4 duplicates in the test split" in unique
    assert "| 0.700 ± 0.100 |" in unique
    assert "AUC **0.800 ± 0.100** (0.800 ± 0.100), accuracy 0.500 ± 0.000" in tables.summary_table(
        found
    )
    assert "without" not in tables.volumes_table([volume_run(0, 0.5, 0), volume_run(1, 0.5, 0)])


@pytest.mark.parametrize(
    "seconds, text", [(29, "0 min"), (3580, "1 h 0 min"), (5400, "1 h 30 min")]
)
def test_times_are_in_hours_and_minutes(seconds, text):
    assert as_time(seconds) == text


def test_the_cards_of_the_project_agree_with_its_runs(monkeypatch):
    """Check that `make cards` would change nothing in the repository."""
    written = {}
    monkeypatch.setattr(command, "write_atomic", lambda path, text: written.update({path: text}))
    monkeypatch.setattr(tables, "write_atomic", lambda path, text: written.update({path: text}))
    command.write(command.CardsConfig())
    for path, text in written.items():
        assert path.read_bytes() == text, path
    for run in read_runs(command.RESULTS):
        assert (run.folder / "log.txt").exists(), run.name


def test_the_weights_are_small_and_have_cards():
    files = list(command.WEIGHTS.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) < 14e6
    assert all(file.with_suffix(".md").exists() for file in files)
