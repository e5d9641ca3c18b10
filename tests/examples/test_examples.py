"""The examples run, each with fewer iterations than it asks for."""

import pytest

from examples import instances, learning_rate_range, look_ahead
from tests.support.environments import small_environment
from wrn3d.system.errors import UsageError


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

    small(optuna_search, ITERATIONS=18, ROUND=2, ROUNDS=2)
    *trials, best, test = capsys.readouterr().out.splitlines()
    assert best.startswith("best validation accuracy ") and test.startswith("test accuracy ")
    assert any("from iteration   2, learning rate " in line for line in trials)
    assert any("pruned after 4 iterations" in line for line in trials)


@pytest.fixture
def small_instances(tmp_path, monkeypatch):
    """Make instances of digits that train in seconds, and go to a new folder."""
    monkeypatch.chdir(tmp_path)
    few = {"BUDGET": 48, "LENGTH": 6, "ROUND": 2, "SEEDS": range(2)}
    for name, value in few.items():
        monkeypatch.setattr(instances, name, value)
    for name, value in {"ROUND": 2, "COOLING": 1}.items():
        monkeypatch.setattr(look_ahead, name, value)
    small = instances.INSTANCES["digits"] | {"volume_size": 8, "batch_size": 16}
    monkeypatch.setattr(instances, "INSTANCES", {"digits": small})
    return tmp_path


@pytest.mark.slow
def test_comparisons_go_on_with_equal_iterations(small_instances):
    """A controller may train BUDGET iterations for each seed; the file's results are kept."""
    trained = []

    def greedy(run):
        assert (run.iteration, run.left) == (0, 48)
        start = run.snapshot()
        for iteration in range(48):
            if iteration == 24:
                run.restore(start)
            trained.append((run.config.seed, run.step(learning_rate=0.1).loss))
        with pytest.raises(UsageError, match="all of the 48 iterations are used"):
            run.step()

    def lazy(run):
        trained.append("lazy")

    first = instances.compare({"greedy": greedy}, "digits")
    assert len(first["greedy"]) == 2 and len(trained) == 96
    assert trained[:24] == trained[24:48] and {seed for seed, _ in trained} == {0, 1}
    both = instances.compare({"lazy": lazy, "greedy": greedy}, "digits")
    assert both["greedy"] == first["greedy"] and trained[96:] == ["lazy", "lazy"]
    instances.INSTANCES["digits"]["depth"] = 16
    with pytest.raises(UsageError, match="controllers-digits.json is of other instances"):
        instances.compare({"greedy": greedy}, "digits")


@pytest.mark.slow
def test_a_population_is_compared_with_schedules(small_instances, capsys):
    from examples import population

    run = instances.Run(**instances.INSTANCES["digits"], seed=1)
    best = population.train_population(run).best()
    assert run.left == 0 and run.iteration == 6 and best.result == run.evaluate("validation")
    population.main(instances.Config("digits"))
    lines = capsys.readouterr().out.splitlines()
    for name in ("best constant rate", "best cosine", "look ahead", "population"):
        assert sum(line.startswith(f"{name}, digits, seed ") for line in lines) == 2
    assert (small_instances / "population-digits.png").exists()


@pytest.mark.slow
def test_all_controllers_stand_in_one_table(small_instances, monkeypatch, capsys):
    from examples import controllers

    monkeypatch.setattr(controllers.optuna_search, "ROUND", 2)
    controllers.main(instances.Config("digits"))
    table = capsys.readouterr().out.splitlines()[-6:]
    names = [line.split(" |")[0].strip("| ") for line in table]
    assert names == list(controllers.CONTROLLERS)
