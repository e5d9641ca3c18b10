"""How the training loop starts and stops."""

import signal

import numpy as np
import pytest

from tests.support.environments import environment_class, small_environment
from tests.support.runs import SMALL, contents, files, train
from wrn3d.runs import output
from wrn3d.runs.config import RunConfig
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.loop import TrainingLoop
from wrn3d.system.errors import Stopped, UsageError
from wrn3d.system.signals import StopRequest


def test_a_stop_before_the_first_iteration_changes_nothing(run, tmp_path):
    env, path = run
    config = RunConfig(**env.config.settings | {"iterations": 4}, output=path, save_every=2)
    with StopRequest() as stop, RunFolder(path, False, 2) as folder:
        loop = TrainingLoop(env, config, stop, folder)
        loop.start()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped, match="after iteration 0 of 4: saved in"):
            list(loop)
    train(env, path, 4, save_every=2, resume=True)
    env.reset()
    train(env, tmp_path / "undisturbed", 4, save_every=2)
    assert contents(path) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "iteration, message",
    [
        (
            3,
            ", nothing was saved: the same command with --resume starts from the beginning\n",
        ),
        (6, ", the last checkpoint is of iteration 5: add --resume to continue from it\n"),
    ],
)
def test_a_second_signal_stops_during_an_iteration(tmp_path, command, iteration, message):
    class Signalled(environment_class("tensorlayer")):
        def train_batch(self, *arguments):
            if self.iteration + 1 == iteration:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGINT)
            return super().train_batch(*arguments)

    flags = [*SMALL, "--save-every", "5", "--output", tmp_path / "run"]
    status, _, errors = command(*flags, environment_class=Signalled)
    assert (status, errors) == (128 + signal.SIGINT, f"stopped at once by Ctrl-C{message}")
    saved = ["checkpoint-00000005.safetensors"] if iteration > 5 else []
    assert files(tmp_path / "run") == [*saved, "epochs.csv", "log.csv"]


def test_a_second_signal_while_curves_are_drawn_finds_the_checkpoint(
    tmp_path, command, monkeypatch
):
    def interrupted(runs, path):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(output, "draw", interrupted)
    monkeypatch.setattr(output, "FIRST_DRAWING", 0.0)
    flags = [*SMALL, "--save-every", "5", "--output", tmp_path / "run"]
    status, _, errors = command(*flags)
    assert status == 128 + signal.SIGINT
    assert "the last checkpoint is of iteration 5: add --resume" in errors


def test_a_stop_draws_the_curves_once(run, monkeypatch):
    env, path = run
    pictures = []
    monkeypatch.setattr(output, "draw", lambda runs, path: pictures.append(path))
    monkeypatch.setattr(output, "FIRST_DRAWING", 0.0)
    config = RunConfig(**env.config.settings | {"iterations": 4}, output=path)
    with StopRequest() as stop, RunFolder(path) as folder:
        loop = TrainingLoop(env, config, stop, folder)
        loop.start()
        with pytest.raises(Stopped, match="after iteration 1 of 4"):
            for _ in loop:
                signal.raise_signal(signal.SIGTERM)
    assert pictures == [path / "curves.png"]


def test_a_validation_split_without_all_classes_has_no_auc(tmp_path):
    env = small_environment("keras", validation=3, best_by="auc")
    with pytest.raises(UsageError, match="split of digits lacks a class, so its AUC"):
        train(env, tmp_path / "run", 4)
    assert not (tmp_path / "run" / "log.csv").exists()


def test_equal_scores_may_differ_in_their_last_bit(tmp_path, monkeypatch):
    env = small_environment("keras", validation=100, best_by="auc")
    scores = iter([0.5, 0.7, np.nextafter(0.7, 1), 0.6])
    measured = env.evaluate("validation")
    monkeypatch.setattr(env, "evaluate", lambda *_: measured._replace(auc=next(scores)))
    lines, _ = train(env, tmp_path / "run", 8, save_every=2)
    assert ["the best so far" in line for line in lines] == [True, True, False, False]
    assert RunFolder(tmp_path / "run").best("auc")[0].iteration == 4
