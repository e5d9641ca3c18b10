"""The examples run, each with fewer iterations than it asks for."""

import json

import numpy as np
import pytest

from examples import instances, learning_rate_range, look_ahead
from tests.support.environments import small_environment
from wrn3d import Dataset, load_dataset
from wrn3d.system.errors import DataError, UsageError


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


@pytest.mark.slow
def test_look_ahead_goes_on_with_a_rate_that_has_not_diverged(small, monkeypatch, capsys):
    train = look_ahead.train

    def diverging(env, rate, iterations):
        loss = train(env, rate, iterations)
        return float("nan") if rate in (0.2, 0.02) else loss

    monkeypatch.setattr(look_ahead, "train", diverging)
    small(look_ahead, ROUND=2, ROUNDS=2, COOLING=1)
    output = capsys.readouterr().out
    assert "kept the rate 0.05" in output or "kept the rate 0.0125" in output
    assert "kept the rate 0.2" not in output


@pytest.fixture
def small_instances(tmp_path, monkeypatch):
    """Make instances of digits that train in seconds, and go to a new folder."""
    monkeypatch.chdir(tmp_path)
    few = {"BUDGET": 48, "LENGTH": 6, "EVALUATE_EVERY": 2, "SEEDS": range(2)}
    for name, value in few.items():
        monkeypatch.setattr(instances, name, value)
    for name, value in {"ROUND": 2, "COOLING": 1}.items():
        monkeypatch.setattr(look_ahead, name, value)
    small = instances.INSTANCES["digits"] | {"volume_size": 8, "batch_size": 16}
    monkeypatch.setattr(instances, "INSTANCES", {"digits": small})
    return tmp_path


@pytest.mark.slow
def test_controllers_have_equal_iterations_of_the_same_instances(small_instances):
    losses = {}

    def greedy(run):
        run.use_only(range(100))  # the next controller has all rows again
        for _ in range(48):
            run.step(learning_rate=0.01)
        with pytest.raises(UsageError, match="may train 48 iterations: stop when run.left is 0"):
            run.step()
        with pytest.raises(UsageError, match="the test split is for the result"):
            run.evaluate("test")

    def first_rate(run):
        assert (run.iteration, run.left) == (0, 48)
        losses[run.config.seed] = run.step(learning_rate=0.1).loss
        assert run.evaluate() == run.evaluate("validation")

    found = instances.compare({"greedy": greedy, "first": first_rate}, "digits")
    assert [(one["used"], one["network"]) for one in found["greedy"]] == [(48, 48)] * 2
    assert [(one["used"], one["network"]) for one in found["first"]] == [(1, 1)] * 2
    for seed in (0, 1):
        env = instances.CNNEnv(**instances.INSTANCES["digits"], seed=seed)
        assert losses[seed] == env.step(learning_rate=0.1).loss
        assert found["first"][seed]["test accuracy"] == env.evaluate().accuracy


@pytest.mark.slow
def test_results_are_kept(small_instances):
    """An interrupted comparison goes on; a file of other instances is refused."""
    trained = []

    def stopping(run):
        if trained == [0]:
            raise KeyboardInterrupt
        trained.append(run.config.seed)

    for expected in ([0], [0]):
        with pytest.raises(KeyboardInterrupt):
            instances.compare({"mine": stopping}, "digits")
        assert trained == expected
    trained.append("on")
    both = instances.compare({"other": lambda run: None, "mine": stopping}, "digits")
    assert trained == [0, "on", 1] and len(both["mine"]) == len(both["other"]) == 2
    instances.INSTANCES["digits"]["depth"] = 16
    with pytest.raises(UsageError, match="controllers-digits.json is of other instances: move it"):
        instances.compare({"mine": stopping}, "digits")
    for content in ("", "[]", "{}", '{"results": {"mine": 1}}'):
        (small_instances / "controllers-digits.json").write_text(content)
        with pytest.raises(DataError, match="cannot be read as results .*: move it away"):
            instances.compare({"mine": stopping}, "digits")


@pytest.mark.slow
def test_a_population_is_compared_with_schedules(small_instances, capsys):
    from examples import population

    run = instances.make_run("digits")
    best = population.train_population(run).best()
    assert run.left == 0 and run.iteration == 6 and best.result == run.evaluate()
    population.main(instances.Config("digits"))
    lines = capsys.readouterr().out.splitlines()
    for name in ("best constant rate", "best cosine", "look ahead", "population"):
        assert sum(line.startswith(f"{name}, digits, seed ") for line in lines) == 2
    assert (small_instances / "population-digits.png").exists()


@pytest.mark.slow
def test_all_controllers_stand_in_one_table(small_instances, monkeypatch, capsys):
    """The second time, they come from the file, without a run."""
    from examples import controllers

    monkeypatch.setattr(controllers.optuna_search, "ROUND", 2)
    controllers.main(instances.Config("digits"))
    table = capsys.readouterr().out.splitlines()[-6:]
    names = [line.split(" |")[0].strip("| ") for line in table]
    assert names == list(controllers.CONTROLLERS)
    kept = json.loads((small_instances / "controllers-digits.json").read_text())["results"]
    for name, found in kept.items():
        assert len(found) == 2 and all(30 < one["used"] <= 48 for one in found), name
    monkeypatch.setattr(instances, "make_run", None)
    controllers.main(instances.Config("digits"))
    assert capsys.readouterr().out.splitlines()[-6:] == table


def test_the_images_of_the_instances_are_written_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(6000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(6000) % 10
    data = Dataset.from_arrays(images, labels, images[:100], labels[:100])
    monkeypatch.setattr(instances.wrn3d, "load_dataset", lambda name: data)
    instances.write_cifar()
    found = load_dataset(str(instances.CIFAR))
    assert np.array_equal(found.train_volumes[:, 0], images[:5000])
    assert np.array_equal(found.validation_volumes[:, 0], images[5000:5500])
    assert np.array_equal(found.test_labels, labels[:100])
