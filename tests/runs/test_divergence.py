"""Runs whose loss or weights become NaN at an iteration that the test chooses."""

import math
import re
import signal
from dataclasses import replace

import numpy as np
import pytest

from tests.support.environments import environment_class
from tests.support.runs import (
    SMALL,
    after_step,
    contents,
    files,
    spoil_weights,
    train,
)
from wrn3d.runs.folder import RunFolder
from wrn3d.system.errors import DivergedError, Stopped


@pytest.mark.parametrize("spoiled", [3, 4])
def test_nan_ends_the_run_and_keeps_the_last_good_checkpoint(run, spoiled, monkeypatch):
    """Make the weights NaN in an update. The next loss, or the save before it, detects that."""
    env, path = run
    after_step(monkeypatch, env, lambda result: result.iteration == spoiled and spoil_weights(env))
    what = {3: "the loss is nan", 4: "weights are no longer finite"}[spoiled]
    with pytest.raises(
        DivergedError,
        match=f"{what} at iteration 4, the last finite loss was [0-9.]+: try a learning rate below "
        "0.01 .last good checkpoint: .*02.safetensors",
    ):
        train(env, path, 9, save_every=2)
    assert files(path) == ["checkpoint-00000002.safetensors", "epochs.csv", "log.csv"]
    newest, _ = RunFolder(path, True).newest()
    assert all(np.isfinite(array).all() for array in newest.weights.values())


def test_a_learning_rate_that_is_too_large_ends_a_run_with_a_sentence(command):
    status, _, errors = command(*SMALL, "--learning-rate", "1e30")
    assert status == 1
    assert re.fullmatch(
        r"error: the loss is (nan|inf) at iteration \d, the last finite loss was .*: try a "
        r"learning rate below 1e\+30\n",
        errors,
    )


@pytest.mark.parametrize("kept", [False, True])
def test_weights_end_a_run_with_and_without_a_folder(command, tmp_path, kept):
    class Spoiled(environment_class("keras")):
        def step(self, *arguments, **settings):
            result = super().step(*arguments, **settings)
            if result.iteration == 4:
                spoil_weights(self)
            return result

    flags = [*SMALL, "--iterations", 4, *(["--output", tmp_path / "run"] if kept else [])]
    status, _, errors = command(*flags, environment_class=Spoiled)
    assert status == 1
    assert re.fullmatch(
        r"error: weights are no longer finite at iteration 4, the last finite loss was [\d.]+: try "
        r"a learning rate below 0.01\n",
        errors,
    )


def test_a_run_that_always_diverges_is_given_up(run, monkeypatch):
    env, path = run
    after_step(monkeypatch, env, lambda result: replace(result, loss=math.nan))
    with pytest.raises(
        DivergedError,
        match="the loss is nan at iteration 1, no loss was finite: try a learning rate below 9.76",
    ):
        train(env, path, 2, on_nan="restore")


OPTIONS = {"on_nan": "restore", "save_every": 4}


def diverge(monkeypatch, env, stop_after=None):
    """Spoil the weights in iteration 10 and, once the run has gone back, the loss of iteration 17.

    Send SIGTERM once, in iteration `stop_after`.
    """
    stops = [stop_after]

    def act(result):
        if (result.iteration, env.learning_rate_scale) == (10, 1.0):
            spoil_weights(env)
        if result.iteration in stops:
            stops.clear()
            signal.raise_signal(signal.SIGTERM)
        if (result.iteration, env.learning_rate_scale) == (17, 0.5):
            return replace(result, loss=math.inf)

    env.reset()
    after_step(monkeypatch, env, act)


@pytest.fixture(scope="module")
def twice_diverged(validating_environment, tmp_path_factory):
    """Return (contents, reported lines) of a run of 24 iterations that diverges twice."""
    folder = tmp_path_factory.mktemp("diverged")
    with pytest.MonkeyPatch.context() as monkeypatch:
        diverge(monkeypatch, validating_environment)
        lines, results = train(validating_environment, folder, 24, **OPTIONS)
    assert results[-1].iteration == 24 and results[-1].learning_rate == 0.0025
    return contents(folder), lines


def test_a_diverged_run_goes_back_with_half_the_learning_rate(twice_diverged):
    found, lines = twice_diverged
    restored = [line for line in lines if line.startswith("restored ")]
    pattern = (
        r"restored  iteration {}, with the learning rate times {}: the loss is {} at iteration {}, "
        r"the last finite loss was \d.*"
    )
    for line, values in zip(restored, [(8, 0.5, "nan", 11), (16, 0.25, "inf", 17)], strict=True):
        assert re.fullmatch(pattern.format(*values), line)
    rows = [line.split(",") for line in found["log.csv"].decode().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == list(range(1, 25))
    assert [float(row[2]) for row in rows] == [0.01] * 8 + [0.005] * 8 + [0.0025] * 8


@pytest.mark.parametrize(
    "stopped", [9, *(pytest.param(number, marks=pytest.mark.slow) for number in (3, 13, 22))]
)
def test_a_stop_before_or_after_divergence_changes_nothing(
    validating_run, twice_diverged, stopped, monkeypatch
):
    env, path = validating_run
    diverge(monkeypatch, env, stopped)
    with pytest.raises(Stopped, match=f"stopped by SIGTERM after iteration {stopped} of 24"):
        train(env, path, 24, **OPTIONS)
    assert f"checkpoint-{stopped:08}.safetensors" in files(path)
    env.reset()
    train(env, path, 24, resume=True, **OPTIONS)
    assert contents(path) == twice_diverged[0]


@pytest.mark.parametrize("every, stopped", [(4, 4), (4, 5), (9, 0)])
def test_a_stop_during_or_after_a_diverged_iteration(run, every, stopped, monkeypatch):
    """Stop after iteration 5. Iteration 6 spoils the weights, and the save of the second stop
    detects that."""
    env, path = run
    stops = [(5, 1.0), (6, 1.0), (stopped, 0.5)]

    def act(result):
        if (result.iteration, env.learning_rate_scale) == (6, 1.0):
            spoil_weights(env)
        if (result.iteration, env.learning_rate_scale) in stops:
            signal.raise_signal(signal.SIGTERM)

    after_step(monkeypatch, env, act)
    options = {"on_nan": "restore", "save_every": every}
    with pytest.raises(Stopped, match="stopped by SIGTERM after iteration 5 of 12: saved in"):
        train(env, path, 12, **options)
    if stopped == 5:
        stops.remove((6, 1.0))
    with pytest.raises(Stopped, match=f"stopped by SIGTERM after iteration {stopped} of 12: saved"):
        train(env, path, 12, resume=True, **options)
    regular = {stopped // every * every, stopped} - ({0} if stopped else set())
    assert files(path) == [
        *(f"checkpoint-{number:08}.safetensors" for number in sorted(regular)),
        "epochs.csv",
        "log.csv",
    ]
    newest, _ = RunFolder(path).newest()
    assert newest.iteration == stopped
    assert newest.learning_rate_scale == (1 if stopped == 4 else 0.5)
    assert (path / "log.csv").read_text().count("\n") == stopped + 1
