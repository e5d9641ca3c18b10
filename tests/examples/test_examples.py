"""The examples run, each with fewer iterations than it asks for."""

import pytest

from examples import learning_rate_range, look_ahead
from tests.support.environments import small_environment


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Set constants of an example and run it in a new folder."""

    def run(example, settings=(), **constants):
        monkeypatch.chdir(tmp_path)
        small = {"volume_size": 8, "batch_size": 8}
        constants["SETTINGS"] = example.SETTINGS | small | dict(settings)
        for name, value in constants.items():
            monkeypatch.setattr(example, name, value)
        example.main()
        return tmp_path

    return run


def test_the_range_test_finds_a_rate_and_goes_back(small, capsys):
    env = small_environment("tensorlayer", volume_size=8, dataset="digits", batch_size=8)
    folder = small(learning_rate_range, CNNEnv=lambda **settings: env, ITERATIONS=15)
    assert "iterations; the loss falls fastest at a learning rate of " in capsys.readouterr().out
    assert (folder / "learning_rate_range.png").exists()
    curve = learning_rate_range.range_test(env)
    assert env.iteration == 0 and learning_rate_range.range_test(env) == curve


def test_look_ahead_keeps_a_rate_in_each_round(small, capsys):
    folder = small(look_ahead, ROUND=2, ROUNDS=2, COOLING=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [
        *("always 0.2", "always 0.05", "always 0.0125", "iteration 2", "iteration 4", "look ahead")
    ]
    assert (folder / "look_ahead.png").exists()


@pytest.mark.slow
def test_the_agent_is_compared_with_schedules(small, capsys):
    from examples import agent  # which imports PyTorch, in some five seconds

    settings = {"iterations": 4, "reward_every": 2}
    counts = {"ITERATIONS": 4, "LEARNING_STEPS": 40, "HELD_OUT_SEEDS": range(1000, 1002)}
    folder = small(agent, settings, **counts)
    output = capsys.readouterr().out
    for name in ("agent", "constant 0.02", "cosine 0.2"):
        assert f"| {name} | " in output
    assert (folder / "agent.png").exists()


@pytest.mark.slow
def test_optuna_prunes_and_branches(small, capsys):
    from examples import optuna_search

    small(optuna_search, TRIALS=6, ROUND=2, ROUNDS=2)
    *trials, best = capsys.readouterr().out.splitlines()
    assert len(trials) == 6 and best.startswith("best trial ")
    assert any("from iteration   2, learning rate " in line for line in trials)
    assert any("pruned after 4 iterations" in line for line in trials)
