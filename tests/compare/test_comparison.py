"""The comparison as a command, on real runs, also on ones that are made to differ."""

import csv
import json
import os
import re
import signal
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from tests.support.environments import SCRIPTS
from tests.support.fork_server import ROOT
from tests.support.processes import run_command, start_command
from tests.support.runs import SMALL
from wrn3d.compare import report
from wrn3d.compare.comparison import Comparison, Difference, Pair, Run, largest_difference
from wrn3d.compare.side import Side
from wrn3d.system.errors import UserError
from wrn3d.system.tensorflow_setup import has_fast_bfloat16
from wrn3d.training.environment import StepResult

SETTINGS = {"dataset": "digits", "depth": 10, "widen_factor": 1, "batch_size": 32, "seed": 0}


def compare(*arguments, **options):
    return run_command("-m", "wrn3d.compare", *SMALL, *arguments, **options)


def only_folder(path):
    (folder,) = path.iterdir()
    return folder


class Page(HTMLParser):
    """A page's text, and the addresses that it refers to."""

    def __init__(self, path):
        super().__init__()
        self.words, self.addresses = [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_data(self, data):
        self.words.append(data)

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]


def test_both_scripts_are_identical_and_the_report_says_so(tmp_path):
    process = compare(
        "--recipe",
        "fast",
        "--iterations",
        "4",
        "--seeds",
        "2",
        "--dropout",
        "0.2",
        "--output",
        tmp_path,
    )
    notes = process.stderr.splitlines()
    assert (process.returncode, len(notes)) == (0, 0 if has_fast_bfloat16() else 4), notes
    assert all(note.startswith("note: precision bfloat16 is no faster") for note in notes)
    assert process.stdout.splitlines()[-1] == "identical"
    assert "weights: all 39 arrays are equal to the last bit" in process.stdout
    folder = only_folder(tmp_path)
    assert {file.name for file in folder.iterdir()} == {
        "report.html",
        "loss.png",
        "accuracy.png",
        "speed.png",
        "iterations.csv",
        "summary.json",
    }

    with (folder / "iterations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["iteration"]) for row in rows] == [
        (seed, str(iteration)) for seed in "01" for iteration in range(1, 5)
    ]
    for row in rows:
        assert row["tensorlayer_loss"] == row["keras_loss"]
        assert row["tensorlayer_accuracy"] == row["keras_accuracy"]
    assert len({row["keras_loss"] for row in rows}) == 8

    summary = json.loads((folder / "summary.json").read_text())
    assert summary["verdict"] == "identical"
    loss = summary["quantities"]["test loss"]
    assert loss["TensorLayer"] == loss["Keras"] and loss["TensorLayer"][0] != loss["Keras"][1]
    assert loss["interval"] == [0, 0]
    for side in ("TensorLayer", "Keras"):
        assert min(summary["quantities"]["first step, seconds"][side]) > 1
        assert min(summary["quantities"]["peak memory, GiB"][side]) > 0.2

    page = Page(folder / "report.html")
    assert len(page.addresses) == 3  # pictures, in the page itself
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "group2.block0.conv1" in page.words and "identical" in page.words


NUDGE = """
    def nudge(self):
        import numpy as np
        weights = self.get_weights()
        kernel = weights["group1.block0.conv0"]
        kernel[1, 1, 1, 0, 0] = np.nextafter(kernel[1, 1, 1, 0, 0], np.float32(np.inf))
        self.set_weights(weights)
"""
PERTURBED = {  # what a side does differently, and where that has to be found
    "after an iteration": (
        """
    def step(self, **arguments):
        result = super().step(**arguments)
        if result.iteration == 3:
            self.nudge()
        return result
""",
        3,
        "group1.block0.conv0",
    ),
    "before training": (
        """
    def build(self):
        super().build()
        self.nudge()
""",
        0,
        "group1.block0.conv0",
    ),
    "in the loss": (
        """
    def step(self, **arguments):
        from dataclasses import replace
        import numpy as np
        result = super().step(**arguments)
        if result.iteration == 3:
            result = replace(result, loss=float(np.nextafter(np.float32(result.loss), 9)))
        return result
""",
        3,
        "the loss",
    ),
    "in evaluation mode": (
        """
    def logits(self, volumes):
        import numpy as np
        logits = super().logits(volumes)
        logits[0, 0] = np.nextafter(logits[0, 0], np.float32(np.inf))
        return logits
""",
        5,
        "the logits",
    ),
}


def perturbed_scripts(folder, front_end, change):
    """Both scripts, one of them with `change` among its methods, as real files."""
    for script in SCRIPTS.values():
        source = (ROOT / f"{script}.py").read_text()
        if script == SCRIPTS[front_end]:
            base = f"class Changed(CNNEnv):\n{NUDGE}{change}\n\nCNNEnv = Changed\n"
            source = source.replace("if __name__ ==", f"{base}\n\nif __name__ ==")
        (folder / f"{script}.py").write_text(source)
    return {"cwd": folder, "env": {"PYTHONPATH": str(ROOT), "PATH": ""}}


@pytest.mark.parametrize("where, side", list(zip(PERTURBED, [*SCRIPTS, *SCRIPTS], strict=True)))
def test_one_unit_in_the_last_place_is_found_and_named(tmp_path, where, side):
    change, iteration, name = PERTURBED[where]
    options = perturbed_scripts(tmp_path, side, change)
    process = compare("--iterations", "5", "--output", "runs", **options)
    assert (process.returncode, process.stderr) == (1, "")
    said = process.stdout.splitlines()[-1]
    found = re.fullmatch(f"differs first at iteration {iteration} in {name} by (\\S+)", said)
    summary = json.loads((only_folder(tmp_path / "runs") / "summary.json").read_text())
    first = summary["seeds"][0]["first_difference"]
    assert (first["iteration"], first["name"]) == (iteration, name)
    # The unit of a float32 is a power of two.
    assert 0 < float(found[1]) < 1e-6 and np.frexp(first["size"])[0] == 0.5
    assert "identical" not in process.stdout


def test_a_tolerance_lets_a_small_difference_pass(tmp_path):
    options = perturbed_scripts(tmp_path, "keras", PERTURBED["in the loss"][0])
    process = compare("--iterations", "4", "--tolerance", "1e-6", **options)
    assert (process.returncode, process.stderr) == (0, "")
    assert re.match(
        "within the tolerance of 1e-06: at most .* apart; differs first at iteration 3 "
        "in the loss by ",
        process.stdout.splitlines()[-1],
    )


def test_runs_that_diverge_are_compared_all_the_same(tmp_path):
    process = compare("--iterations", "4", "--learning-rate", "1e30", "--output", tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.splitlines()[-1] == "identical"  # NaN on both sides

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (only_folder(tmp_path) / "summary.json").read_text()
    summary = json.loads(text, parse_constant=refuse)
    assert summary["quantities"]["loss, last iteration"]["Keras"] == ["nan"]


def results(losses, rate=100.0):
    return [
        StepResult(number, loss, 0.5, 0.1, 32, 32 / rate) for number, loss in enumerate(losses, 1)
    ]


def comparison(losses, first=None, weights=0.0, seed=0):
    return Comparison(
        seed,
        {
            name: Run(results(values), 4.0, 2**30, None)
            for name, values in zip(("TensorLayer", "Keras"), losses, strict=True)
        },
        first,
        {"conv0": weights, "bn.bias": 0.0},
        0.0,
    )


def test_a_tolerance_decides_whether_a_difference_is_one():
    same = comparison([[2.0, 1.0], [2.0, 1.0]])
    apart = comparison([[2.0, 1.0], [2.0, 1.25]], Difference(2, "conv0", 0.125, 3), 0.125)
    assert same.agrees(0) and report.verdict([same], 0) == "identical"
    assert not apart.agrees(0) and not apart.agrees(0.2) and apart.agrees(0.25)
    said = "differs first at iteration 2 in conv0 by 0.125 (and 3 more)"
    assert report.verdict([apart], 0.2) == said
    within = f"within the tolerance of 0.5: at most 0.25 apart; {said}"
    assert report.verdict([apart], 0.5) == within
    assert report.verdict([same, apart], 0.2) == f"{said} with seed 0"
    nowhere = comparison([[2.0], [2.0]], Difference(1, "conv0", 0.0, 0))  # zeros of two signs
    assert not nowhere.agrees(0)


def test_means_and_intervals_are_scipys():
    pairs = [([1.0], [1.1]), ([1.2], [1.25]), ([0.9], [1.05])]
    several = [comparison(pair, seed=seed) for seed, pair in enumerate(pairs)]
    first, second = np.array(pairs)[:, :, 0].T
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    middle, low, high = report.difference_interval(report.values(several)["loss, last iteration"])
    assert np.allclose([middle, low, high], [np.mean(second - first), *expected])
    row = next(row for row in report.summary_rows(several)[1] if row[0].startswith("loss"))
    assert row[1] == f"{first.mean():.6f} ± {first.std(ddof=1):.6f}"
    assert row[3] == f"0.1 ({expected.low:.3g} to {expected.high:.3g})"


@pytest.mark.parametrize(
    "left, right, size",
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5),
        (np.nan, np.nan, 0),
        (np.nan, 1.0, np.inf),
        (np.inf, np.inf, 0),
        (np.inf, 1.0, np.inf),
        ([np.nan, 3], [np.nan, 1], 2),
        (np.float32(1e-30), np.float32(0), float(np.float32(1e-30))),
    ],
)
def test_the_largest_difference(left, right, size):
    assert largest_difference(left, right) == size


def test_a_side_that_is_killed_ends_the_comparison_with_a_sentence():
    with (
        pytest.raises(
            UserError,
            match="the Keras side ended without an answer \\(killed by "
            "SIGKILL, out of memory\\?\\)",
        ),
        Pair(SETTINGS) as pair,
    ):
        pair.step()
        pair.sides[1].process.kill()
        pair.step()
    assert not any(side.process.is_alive() for side in pair.sides)


def test_a_side_passes_on_what_a_user_can_get_wrong(tmp_path):
    settings = SETTINGS | {"dataset": "cifar10", "data_dir": tmp_path / "cifar"}
    (tmp_path / "cifar").write_bytes(b"a file, no folder")
    with Side("Keras", settings) as side, pytest.raises(UserError, match="cifar"):
        side.step()


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (["--seeds", "0"], 2, "seeds is 0"),
        (["--tolerance", "-1"], 2, "tolerance is -1.0"),
        (["--depth", "11"], 2, "depth is 11"),
        (["--batch-size", "9999"], 2, "batch_size is 9999"),
        (["--output", "/dev/null/runs"], 1, "/dev/null/runs cannot be written"),
    ],
)
def test_what_cannot_be_compared_ends_with_a_sentence(tmp_path, arguments, status, said):
    process = compare("--output", tmp_path / "runs", *arguments)
    assert process.returncode == status
    assert process.stderr.startswith(f"error: {said}") and process.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


@pytest.mark.parametrize("started", [False, True], ids=["at the start", "later"])
def test_ctrl_c_ends_both_sides(tmp_path, started):
    process = start_command(
        "-m",
        "wrn3d.compare",
        *SMALL,
        "--iterations",
        "100000",
        "--output",
        tmp_path / "runs",
        start_new_session=True,
    )
    if started:
        assert process.stdout.readline().startswith("seed 0")
        time.sleep(0.5)
    else:
        while not (tmp_path / "runs").exists():
            time.sleep(0.01)
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "stopped by Ctrl-C\n")
    assert not any((tmp_path / "runs").iterdir())
    with pytest.raises(ProcessLookupError):  # nobody is left, in a moment
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.05)


def test_help_is_instant():
    start = time.perf_counter()
    process = compare("--help")
    assert process.returncode == 0 and "--seeds" in process.stdout
    assert time.perf_counter() - start < 3  # TensorFlow alone takes longer
