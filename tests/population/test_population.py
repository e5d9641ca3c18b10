"""A population's members are exact runs: copied, explored, saved, and replayed as one run."""

import gc
import json
import os
import resource
import weakref
from math import nan

import numpy as np
import pytest

from tests.support.environments import small_environment
from tests.support.interrupts import interrupt
from tests.support.networks import assert_same_bits
from tests.training.test_wrong_arguments import WRONG, refuses
from wrn3d import Population, replay
from wrn3d.population.lineage import Lineage, Segment
from wrn3d.system.errors import DataError, MissingDataError, UsageError

SETTINGS = {"momentum": 0.9, "weight_decay": 1e-3, "dropout": 0.1, "validation": 200}
ONE_QUICK = pytest.mark.parametrize(
    "front_end", ["tensorlayer", pytest.param("keras", marks=pytest.mark.slow)]
)
OTHER = {"tensorlayer": "keras", "keras": "tensorlayer"}


def environment(front_end, **settings):
    return small_environment(front_end, **SETTINGS | {"volume_size": 8} | settings)


def evolved(front_end, rounds=3, **settings):
    """Return a population after some rounds of population-based training."""
    population = Population(environment(front_end, **settings), 4)
    for member in population:
        member.draw(learning_rate=(0.01, 0.5), momentum=(0.5, 0.95), dropout=(0.05, 0.4))
    for turn in range(rounds):
        if turn:
            population.evolve()
        population.step(3)
        population.evaluate()
    return population


def states(population):
    return [member.state for member in population]


def settings_of(population):
    return [member.settings for member in population]


def assert_same(left, right):
    for one, other in zip(left, right, strict=True):
        assert (one.iteration, one.index_in_epoch) == (other.iteration, other.index_in_epoch)
        for kind in ("weights", "momentum", "average"):
            assert_same_bits(getattr(one, kind), getattr(other, kind))


@pytest.fixture(scope="module")
def populations():
    """Return the same population in each front end."""
    return {name: evolved(name) for name in OTHER}


@pytest.fixture
def population(populations, front_end):
    return populations[front_end]


def test_one_seed_gives_one_population_in_both_front_ends(populations):
    first, second = populations.values()
    assert_same(states(first), states(second))
    assert [dict(one.settings) for one in first] == [dict(one.settings) for one in second]
    assert first.history == second.history
    assert {event["event"] for event in first.history} == {
        *("drew", "evaluated", "copied", "explored")
    }
    assert first.best().settings in settings_of(first)
    other = evolved("keras", rounds=0, seed=1)
    drawn = [event for event in first.history if event["event"] == "drew"]
    assert len(other.history) == len(drawn) == 4 and other.history != drawn


def test_each_lineage_replays_as_one_run(population, front_end, tmp_path):
    env = environment(OTHER[front_end])
    lengths = []
    for member in population:
        member.lineage.save(tmp_path / "lineage.json")
        env.reset()
        results = replay(env, tmp_path / "lineage.json")
        assert [result.iteration for result in results] == list(range(1, 10))
        assert_same([env.snapshot()], [member.state])
        lengths.append(len(member.lineage.segments))
    assert max(lengths) > 1  # some have copied


@ONE_QUICK
def test_a_member_is_the_run_that_it_would_be_alone(front_end):
    population = Population(environment(front_end, averaging=0.5), 3, learning_rate=0.1)
    population[1].set(momentum=0.5)
    for count in (1, 2, 3):
        for member in population:
            member.step(count)
    alone = environment(front_end, averaging=0.5)
    for number, settings in enumerate(({}, {"momentum": 0.5}, {})):
        alone.reset()
        for _ in range(6):
            alone.step(learning_rate=0.1, **settings)
        assert_same([alone.snapshot()], [population[number].state])
    assert_same([population[0].state], [population[2].state])


def test_exploiting_takes_weights_position_and_settings(front_end):
    population = Population(environment(front_end), 2, learning_rate=0.1)
    first, second = population
    first.step(5)
    first.evaluate()
    second.set(learning_rate=0.2)
    second.step(2)
    second.exploit(first)
    assert_same([second.state], [first.state])
    assert second.settings == first.settings == {"learning_rate": 0.1}
    assert second.result == first.result and second.iteration == 5
    assert second.lineage == first.lineage
    second.step()
    assert (first.iteration, second.iteration) == (5, 6) and second.result is None
    second.exploit(second)
    assert second.iteration == 6
    first.exploit(second)  # the active one is the original
    assert_same([first.state], [second.state])


def test_the_worst_copy_the_best():
    population = Population(environment("keras"), 8, learning_rate=0.1)
    scores = [0.3, 0.9, nan, 0.5, 0.9, 0.1, 0.2, 0.4]
    result = population.env.evaluate("validation")
    for member, score in zip(population, scores, strict=True):
        member.set(learning_rate=0.1 + member.number)
        member.result = result._replace(accuracy=score, loss=-score)
    assert [one.number for one in population.ranked()] == [1, 4, 3, 7, 0, 6, 5, 2]
    assert [one.number for one in population.ranked("loss")] == [1, 4, 3, 7, 0, 6, 5, 2]
    assert population.best() is population[1]
    pairs = population.evolve(0.25)
    assert [(one.number, better.number) for one, better in pairs] == [(2, 1), (5, 4)]
    assert population[2].result is None and population[1].result.accuracy == 0.9
    for one, better in pairs:
        rate = better.settings["learning_rate"]
        assert one.settings["learning_rate"] in (0.8 * rate, 1.25 * rate)


@ONE_QUICK
def test_a_saved_population_continues_as_if_it_had_not_been(front_end, tmp_path):
    population = evolved(front_end, rounds=1)
    population.save(tmp_path / "all")
    own = tmp_path / "all" / "member-9-own.safetensors"
    own.touch()
    population.save(tmp_path / "all")  # replaces the files before, not the user's
    assert len(os.listdir(tmp_path / "all")) == 6 and own.exists()
    continued = Population.load(tmp_path / "all", environment(OTHER[front_end]))
    assert_same(states(continued), states(population))
    assert continued.history == population.history
    assert continued.ranked() == [continued[one.number] for one in population.ranked()]
    for each in (continued, population):
        each.evolve()
        each.step(3)
        each.evaluate()
    assert_same(states(continued), states(population))
    assert continued.history == population.history
    assert [one.lineage for one in continued] == [one.lineage for one in population]


@pytest.mark.slow
def test_a_thousand_exchanges_leak_nothing():
    population = Population(environment("keras"), 2, learning_rate=0.01)
    first, second = population

    def exchange(count):
        for _ in range(count):
            first.step()
            second.exploit(first)
            second.step()
            first.exploit(second)
            first.explore(learning_rate=(0.99, 1.01))

    exchange(50)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    exchange(450)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000  # KiB; a snapshot has 1.7 MiB
    assert len(population.history) == 1500 and len(first.lineage.segments) == 501


@ONE_QUICK
def test_an_interrupt_leaves_members_whole(front_end):
    """Ctrl-C at many moments of turns and copies: each member is what its lineage says."""
    population = Population(environment(front_end), 2, learning_rate=0.1)
    first, second = population
    second.set(learning_rate=0.2)

    def turns():
        for _ in range(4):
            first.step()
            second.step()
            first.exploit(second)

    for seconds in np.linspace(0.001, 0.08, 12):
        interrupt("signal", float(seconds), turns)
    env = environment(front_end)
    for member in population:
        env.reset()
        replay(env, member.lineage)
        assert_same([env.snapshot()], [member.state])


def test_others_that_use_the_environment_are_noticed(tmp_path):
    env = environment("keras")
    one = Population(env, 2, learning_rate=0.1)
    one[0].step(2)
    other = Population(env, 2, learning_rate=0.2)
    other[1].step(3)
    assert (one[0].iteration, one[1].iteration, other[1].iteration) == (2, 0, 5)
    one[0].step()  # they alternate
    assert (one[0].iteration, other[1].iteration) == (3, 5)
    env.step()
    calls = (one[0].step, one[1].step, lambda: one[0].state, lambda: one.save(tmp_path / "x"))
    for call in calls:
        with pytest.raises(UsageError, match="environment was used outside of its population"):
            call()
    assert not (tmp_path / "x").exists()


def test_a_population_that_is_no_longer_used_is_freed():
    env = environment("keras")
    population = Population(env, 3, learning_rate=0.1)
    population.step()
    left = weakref.ref(population.shared)
    assert len({id(state) for state in population.shared.states}) <= 3
    del population
    gc.collect()
    assert left() is None
    Population(env, 2, learning_rate=0.1).step()


def test_rows_and_a_later_beginning_belong_to_the_state():
    env = environment("keras")
    for _ in range(3):
        env.step(learning_rate=0.1)
    env.use_only(np.arange(100))
    population = Population(env, 2, learning_rate=0.1)
    start = population[0].state
    population.step(2)
    env = environment("keras")
    env.restore(start)
    replay(env, population[1].lineage)
    assert_same([env.snapshot()], [population[1].state])
    assert population[1].state.rows.tolist() == list(range(100))


def test_schedules_are_compared(tmp_path):
    environments = [
        environment("keras", schedule="cosine", iterations=50),
        environment("keras", schedule="cosine", iterations=60),
        environment("keras", schedule="cosine", iterations=50, learning_rate=0.3),
        environment("keras", schedule="cosine", iterations=50, data_dir=tmp_path, seed=3),
    ]
    Population(environments[0], 2).save(tmp_path)
    messages = ["iterations was 50 and is 60", "rate was 0.01 and is 0.3"]
    for env, message in zip(environments[1:3], messages, strict=True):
        with pytest.raises(UsageError, match=message):
            Population.load(tmp_path, env)
    assert Population.load(tmp_path, environments[3])[0].state.config["seed"] == 0


@pytest.mark.parametrize(
    "work, message",
    [
        (lambda env: Population(env, 1), "size is 1, but must be a whole number from 2 up"),
        (lambda env: Population("digits", 2), "env is 'digits', but must be a CNNEnv"),
        (
            lambda env: Population(env, 2, batch_size=3),
            "'batch_size' cannot change during a run: choose from learning_rate, momentum, weight_",
        ),
        (lambda env: Population(env, 2, momentum=1), "momentum is 1, but must be a number from 0 "),
        (lambda env: Population(env, 2, learning_rate=-1), "learning_rate is -1, but must be a nu"),
        (lambda env: Population(env, 2).ranked(), "member 0 has changed since its last evaluation"),
        (lambda env: Population(env, 2).evolve(0.7), "share is 0.7, but must be above 0, up to 0"),
        (
            lambda env: Population(env, 2)[0].explore(momentum=(0.9, 1.1)),
            "'momentum' of member 0 has no value to multiply: choose one before, with set or draw",
        ),
        (
            lambda env: Population(env, 2)[0].draw(learning_rate=(0.1, 0.01)),
            r"learning_rate is \(0.1, 0.01\), but must be two numbers above 0, the lower one first",
        ),
        (
            lambda env: Population(env, 2)[0].exploit(Population(env, 2)[0]),
            "exploit takes another member of the same population",
        ),
        (
            lambda env: replay(env, Lineage((Segment(3, {}),), 5)),
            "the environment is at iteration 0 of a run with seed 0, but the lineage begins",
        ),
        (
            lambda env: replay(env, Lineage((Segment(0, {}),), 5, seed=1)),
            "but the lineage begins after iteration 0 with seed 1: make another CNNEnv",
        ),
        (
            lambda env: Population(env, 2, learning_rate=1)[0].explore(learning_rate=2),
            "is 2, but mu",
        ),
        (
            lambda env: Population(env, 2)[0].draw(learning_rate=(0, 1)),
            "two numbers above 0, the lo",
        ),
        (
            lambda env: evaluated(env).evolve(),
            "the members have no settings to explore",
        ),
        (lambda env: mixed(env).ranked(), "were measured on different splits, test and v"),
        (
            lambda env: replay(env, Lineage((Segment(0, {"depth": 3}),), 5)),
            "'depth' cannot change during a run",
        ),
    ],
)
def test_what_cannot_be_is_a_sentence(work, message):
    with pytest.raises(UsageError, match=message):
        work(environment("keras"))


def evaluated(env):
    population = Population(env, 2)
    population.evaluate()
    return population


def mixed(env):
    population = evaluated(env)
    population[1].evaluate("test")
    return population


def test_a_setting_that_is_zero_cannot_change():
    with pytest.raises(UsageError, match="dropout is 0 in this run, so an iteration cannot change"):
        Population(environment("keras", dropout=0), 2, dropout=0.1)


def test_a_damaged_or_foreign_folder_is_refused(tmp_path):
    with pytest.raises(MissingDataError, match="population.json does not exist .*: name a folder"):
        Population.load(tmp_path, environment("keras"))
    population = Population(environment("keras"), 2)
    population.save(tmp_path)
    for settings, message in (
        ({"volume_size": 9}, "comes from other data than digits: use an environment with its da"),
        ({"averaging": 0.5}, "comes from a run with other settings: averaging was 0.0 and is 0.5"),
    ):
        with pytest.raises(UsageError, match=message):
            Population.load(tmp_path, environment("keras", **settings))
    index = tmp_path / "population.json"
    content = json.loads(index.read_text())
    for change in ({"members": 3}, {"seed": -1}, {"history": [1]}, {"members": [{"file": "x"}]}):
        index.write_text(json.dumps(content | change))
        with pytest.raises(DataError, match="population.json cannot be read as a population"):
            Population.load(tmp_path, environment("keras"))
    index.write_text("{")
    with pytest.raises(DataError, match="population.json cannot be read as a population"):
        Population.load(tmp_path, environment("keras"))
    lineage = tmp_path / "lineage.json"
    for text in ("", "[]", '{"segments": [], "iterations": 1}', '{"segments": [{"after": 3}]}'):
        lineage.write_text(text)
        with pytest.raises(DataError, match="lineage.json cannot be read as a lineage"):
            Lineage.load(lineage)


def test_a_kill_while_saving_leaves_the_population_before(tmp_path, monkeypatch):
    population = Population(environment("keras"), 2, learning_rate=0.1)
    population.step()
    population.save(tmp_path)
    before = [member.state for member in population]
    population.step()
    monkeypatch.setattr("wrn3d.population.saved.write_atomic", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        population.save(tmp_path)
    monkeypatch.undo()
    assert_same(states(Population.load(tmp_path, environment("keras"))), before)
    population.save(tmp_path)
    assert len(os.listdir(tmp_path)) == 3
    assert np.isfinite(population[0].step()[0].loss)


@pytest.mark.slow
def test_whatever_is_passed_is_taken_or_answered_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    population = Population(environment("keras"), 2, learning_rate=0.1)
    population.save("saved")
    env, member = population.env, population[0]
    member.lineage.save("lineage.json")
    calls = (
        lambda value: Population(value, 2),
        lambda value: Population(env, value),
        lambda value: Population(env, 2, learning_rate=value),
        lambda value: member.set(momentum=value),
        lambda value: member.explore(learning_rate=value),
        lambda value: member.draw(learning_rate=value),
        lambda value: population.evolve(factors=value),
        lambda value: Population.load("saved", value),
        lambda value: replay(value, "lineage.json"),
        lambda value: replay(env, value),
        *(member.step, member.evaluate, member.exploit, population.ranked, population.evolve),
        *(population.save, lambda value: Population.load(value, env)),
    )
    for call in calls:
        for value in WRONG:
            population.evaluate()
            refuses(call, value)
