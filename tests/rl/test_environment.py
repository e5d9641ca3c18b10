"""Training as a Gymnasium environment."""

import re
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import wrn3d  # noqa: F401  (registers the environment)
from benchmarks import episodes as costs
from tests.support.environments import SCRIPTS
from tests.support.processes import FROM_ANYWHERE, run_command
from wrn3d.rl.actions import FACTORS, RANGES, Control

SMALL = {
    "dataset": "digits",
    "volume_size": 16,
    "depth": 10,
    "widen_factor": 1,
    "batch_size": 16,
    "iterations": 8,
    "reward_every": 2,
    "learning_rate": 0.05,
}
ALL = SMALL | {"momentum": 0.9, "weight_decay": 5e-4, "dropout": 0.2, "adjust": tuple(RANGES)}
BOTH = pytest.mark.parametrize("front_end", SCRIPTS)


@pytest.fixture
def front_end():
    """One, where a test is not of BOTH: an episode is the same in either, as one test here says."""
    return "tensorlayer"


def make(front_end, **arguments):
    return gymnasium.make("wrn3d/Training-v0", front_end=front_end, **SMALL | arguments)


def play(env, seed, actions):
    """Everything that an agent sees of an episode."""
    seen = [env.reset(seed=seed)[0]]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        seen += [observation, reward, terminated, truncated, sorted(info.items())]
        if terminated:
            break
    return seen


def equal(left, right):
    return len(left) == len(right) and all(
        np.array_equal(a, b) for a, b in zip(left, right, strict=True)
    )


@BOTH
@pytest.mark.parametrize(
    "arguments", [{}, {"control": "factors"}, ALL, ALL | {"control": "factors"}]
)
def test_gymnasiums_checker_finds_nothing(front_end, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the checker's
        check_env(make(front_end, **arguments).unwrapped)


SEVERAL = """
import sys
import gymnasium
import numpy as np
import wrn3d  # noqa: F401  (registers the environment)
if __name__ == "__main__":
    env = gymnasium.make_vec("wrn3d/Training-v0", 2, {mode!r}, **{arguments!r})
    print(env.reset(seed=[3, 4])[0].tobytes().hex())
    for action in {actions!r}:
        print(env.step(np.array(action, np.float32))[0].tobytes().hex())
    env.close()
"""
ACTIONS = [[[0.1], [-0.3]], [[0.5], [0.2]]]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_several_at_once_are_the_same_as_one_each(mode, tmp_path):
    program = tmp_path / "several.py"
    program.write_text(SEVERAL.format(mode=mode, arguments=SMALL, actions=ACTIONS))
    process = run_command(program, env=FROM_ANYWHERE)
    assert process.returncode == 0, process.stderr
    together = [
        np.frombuffer(bytes.fromhex(line), np.float32).reshape(2, -1)
        for line in process.stdout.split()
    ]
    one = make("tensorlayer")
    for place, seed in enumerate((3, 4)):
        alone = [
            one.reset(seed=seed)[0],
            *(one.step(np.array(action[place], np.float32))[0] for action in ACTIONS),
        ]
        assert all(np.array_equal(a[place], b) for a, b in zip(together, alone, strict=True))


def test_the_same_seed_and_actions_are_the_same_episode_in_either_front_end():
    env, other = (make(name, **ALL) for name in SCRIPTS)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(8)]
    first = play(env, 5, actions)
    assert first[-3] is True  # it ended
    play(env, 6, actions[:3])
    assert equal(play(env, 5, actions), first)
    assert equal(play(other, 5, actions), first)
    assert not equal(play(env, 6, actions), first)


@BOTH
def test_rewards_add_up_to_what_the_validation_split_gained(front_end):
    for reward, name, sign in (
        ("loss", "validation_loss", -1),
        ("accuracy", "validation_accuracy", 1),
        (lambda before, after: before.loss - after.loss, "validation_loss", -1),
    ):
        env = make(front_end, reward=reward)
        _, start = env.reset(seed=1)
        steps = [env.step(np.array([0.2], np.float32)) for _ in range(8)]
        rewards, end = [step[1] for step in steps], steps[-1][-1]
        assert sum(rewards) == pytest.approx(sign * (end[name] - start[name]), abs=1e-6)
        assert [number != 0 for number in rewards[::2]] == [False] * 4
        training = env.unwrapped.training
        assert end["validation_loss"] == training.evaluate("validation").loss
        assert training.dataset.validation_labels.size == 100 and training.num_examples == 1400


def test_actions_decide_the_settings(front_end):
    env = make(front_end, **ALL)
    env.reset(seed=0)
    *_, info = env.step(np.array([-1, -1, 1, 1], np.float32))
    for name, expected in (
        ("learning_rate", 1e-4),
        ("momentum", 0.5),
        ("weight_decay", 1e-2),
        ("dropout", 0.8),
    ):
        assert info[name] == pytest.approx(expected)
    env = make(front_end, control="factors")
    env.reset(seed=0)
    rates = [env.step(action)[-1]["learning_rate"] for action in (0, 2, 2, 1)]
    assert rates == pytest.approx([0.025, 0.05, 0.1, 0.1])


def test_the_learning_rate_is_seen_whoever_decides_it(front_end):
    env = make(front_end, adjust=("momentum",), momentum=0.9, schedule="linear").unwrapped
    observation, info = env.reset(seed=0)
    for iteration in range(8):
        assert info["learning_rate"] == pytest.approx(0.05 * (1 - max(0, iteration - 1) / 8))
        place = env.observer.names.index("learning_rate")
        assert observation[place] == pytest.approx(
            RANGES["learning_rate"].position_of(info["learning_rate"]), abs=1e-6
        )
        observation, *_, info = env.step([0.5])


@pytest.mark.parametrize(
    "control, actions",
    [
        ("continuous", [[np.nan], [0.1, 0.2], None, "0.1", [[1], [2, 3]], [True]]),
        ("factors", [-1, 3, 0.9, "2", True, [0, 1], None]),
    ],
)
def test_what_is_no_action_is_refused_and_moves_nothing(control, actions):
    env = make("keras", control=control).unwrapped
    env.reset(seed=0)
    for action in actions:
        with pytest.raises(ValueError, match="^action is .*, but must be a .* for each of learn"):
            env.step(action)
    assert env.training.iteration == 0
    env.step([5.0] if control == "continuous" else 2)  # a range's end


def test_there_is_no_step_outside_an_episode(front_end):
    env = make(front_end).unwrapped
    with pytest.raises(ValueError, match="call reset"):
        env.step([0.1])
    assert len(play(env, 0, [[0.1]] * 20)) == 1 + 8 * 5
    with pytest.raises(ValueError, match="call reset"):
        env.step([0.1])


@BOTH
def test_an_episode_goes_back_to_any_moment_of_it(front_end):
    env = make(front_end, subset=64, networks=((10, 1), (10, 2))).unwrapped
    env.reset(seed=3)
    env.step([0.4])
    moment = env.snapshot()
    branches = [[env.step([share]) for _ in range(4)] for share in (0.3,)]
    for seed in range(3):
        env.reset(seed=seed)
        env.step([-0.5])
        observation, info = env.restore(moment)
        assert np.array_equal(observation, moment.observation) and info["iteration"] == 1
        branches.append([env.step([0.3]) for _ in range(4)])
    for branch in branches[1:]:
        for (observation, *rest), (first, *others) in zip(branch, branches[0], strict=True):
            assert np.array_equal(observation, first) and rest == others


def test_divergence_that_only_the_validation_split_sees_ends_the_episode(front_end, monkeypatch):
    env = make(front_end, penalty=3).unwrapped
    env.reset(seed=0)
    env.step([0.1])
    weights = env.training.get_weights()
    weights["bn.running_var"][:] = np.nan  # which training does not read
    env.training.set_weights(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, reward, terminated, _, info = env.step([0.1])
    assert (reward, terminated, info["diverged"]) == (-3.0, True, True)
    assert np.isfinite(info["loss"])


def test_a_blow_up_counts_as_the_penalty_and_may_be_made_good(front_end):
    env = make(front_end, penalty=3).unwrapped
    _, start = env.reset(seed=0)
    env.step([-1])
    weights = env.training.get_weights()
    env.training.set_weights(
        {
            name: array * (1000 if name == "bn.running_mean" else 1)
            for name, array in weights.items()
        }
    )
    _, lost, terminated, _, info = env.step([-1])
    assert info["validation_loss"] > 3 and not terminated
    assert lost == pytest.approx(start["validation_loss"] - 3)
    env.training.set_weights(weights)
    env.step([-1])
    _, won, *_, info = env.step([-1])
    assert won == pytest.approx(3 - info["validation_loss"])


def test_a_reward_function_gives_numbers():
    env = make("keras", reward=lambda before, after: None).unwrapped
    env.reset(seed=0)
    env.step([0.1])
    with pytest.raises(ValueError, match="reward gave None, but must give a number"):
        env.step([0.1])


def test_class_weights_do_not_depend_on_earlier_subsets(front_end):
    arguments = {"subset": 64, "class_weights": True}
    env, actions = make(front_end, **arguments), [np.array([0.3], np.float32)] * 3
    play(env, 6, actions)
    for name in SCRIPTS:
        assert equal(play(env, 5, actions), play(make(name, **arguments), 5, actions))


def test_settings_come_from_a_recipe_too(tmp_path):
    recipe = tmp_path / "short.toml"
    recipe.write_text(
        'dataset = "digits"\ndepth = 10\nwiden_factor = 1\nbatch_size = 16\n'
        "validation = 300\nepochs = 2\n"
    )
    env = gymnasium.make("wrn3d/Training-v0", recipe=str(recipe), subset=64).unwrapped
    env.reset(seed=0)
    assert len(env.training.dataset.validation_labels) == 300
    assert env.training.total == 8
    assert env.training.config.learning_rate == 0.01


FORKED = """
import gymnasium
import wrn3d  # noqa: F401  (registers the environment)
if __name__ == "__main__":
    arguments = {arguments!r}
    gymnasium.make("wrn3d/Training-v0", **arguments).reset(seed=0)
    several = gymnasium.make_vec("wrn3d/Training-v0", 2, "async", **arguments)
    try:
        several.reset(seed=0)
    except ValueError as error:
        print(error)
"""


def test_a_fork_of_a_process_that_trains_says_what_to_do(tmp_path):
    program = tmp_path / "forked.py"
    program.write_text(FORKED.format(arguments=SMALL))
    process = run_command(program, env=FROM_ANYWHERE)
    assert "vector_kwargs={'context': 'spawn'}" in process.stdout, process.stderr


def test_divergence_ends_the_episode_with_the_penalty(front_end, monkeypatch):
    env = make(front_end, penalty=3, iterations=8)
    env.reset(seed=0)
    weights = env.unwrapped.training.get_weights()
    weights["fc.weight"][:] = np.inf
    env.unwrapped.training.set_weights(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observation, reward, terminated, truncated, info = env.step(np.array([1.0], np.float32))
    assert (reward, terminated, truncated, info["diverged"]) == (-3.0, True, False, True)
    assert env.observation_space.contains(observation) and np.isfinite(observation).all()
    observation, info = env.reset(seed=0)
    assert not equal([observation], play(make(front_end), 1, []))
    assert equal([observation], play(make(front_end), 0, []))


def test_networks_and_subsets_are_drawn_by_the_seed(front_end):
    env = make(front_end, networks=((10, 1), (10, 2)), subset=64)
    drawn = {}
    for seed in range(8):
        env.reset(seed=seed)
        training = env.unwrapped.training
        assert training.num_examples == 64 == len(training.y_train)
        drawn[seed] = training.spec.widen_factor, training.y_train.tolist()
        env.step(np.array([0.0], np.float32))
    assert {width for width, _ in drawn.values()} == {1, 2}
    assert len({tuple(labels) for _, labels in drawn.values()}) == 8
    env.reset(seed=3)
    assert (
        env.unwrapped.training.spec.widen_factor,
        env.unwrapped.training.y_train.tolist(),
    ) == drawn[3]


@BOTH
@pytest.mark.parametrize("arguments", [{}, {"sizes": (0.5, 1.0), "iterations": 2}])
def test_episodes_leave_no_graphs_behind(front_end, arguments):
    env = make(front_end, dropout=0.1, **arguments)
    play(env, 0, [np.array([0.1], np.float32)] * 2)
    before = costs.graphs()
    assert before > 0
    for seed in range(1, 6):
        play(env, seed, [np.array([seed / 6], np.float32)] * 2)
    assert costs.graphs() == before


def test_the_costs_are_measured(monkeypatch, capsys):
    whole = costs.make
    monkeypatch.setattr(costs, "SETTLED", 2)
    monkeypatch.setattr(
        costs,
        "make",
        lambda front_end, **settings: whole(
            front_end, **settings | {"depth": 10, "widen_factor": 1, "batch_size": 16}
        ),
    )
    costs.measure(costs.EpisodeCosts(("keras",), rounds=1, resets=3))
    _, anew, rate, back = capsys.readouterr().out.splitlines()
    through, bare, share = (
        float(number)
        for number in re.search(
            r"([\d.]+) iterations/s through Gymnasium, ([\d.]+) by bare step\(\): ([\d.]+)%", rate
        ).groups()
    )
    assert share == pytest.approx(100 * through / bare, abs=0.1)
    assert re.search(r"a step \d+ ms, a snapshot [\d.]+ ms .* a restore [\d.]+ ms", back)
    assert re.search(r"3 resets: \+0 graphs \(of [1-9]\d*\), [+-][\d.]+ MiB", anew)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(RANGES)), position=st.floats(-1, 1), factor=st.sampled_from(FACTORS)
)
def test_ranges_go_to_and_fro(name, position, factor):
    span = RANGES[name]
    value = span.value_at(position)
    assert span.low * (1 - 1e-9) <= value <= span.high * (1 + 1e-9)
    assert span.position_of(value) == pytest.approx(position, abs=1e-6)
    changed = span.multiplied(value, factor)
    assert span.low <= changed <= span.high
    if span.low < changed < span.high:
        assert span.multiplied(changed, 1 / factor) == pytest.approx(value)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"front_end": "torch"}, "front_end is 'torch', but must be tensorlayer or keras"),
        ({"reward": "luck"}, "reward is 'luck', but must be loss or accuracy"),
        ({"control": "steering"}, "control is 'steering', but must be continuous or factors"),
        ({"adjust": ()}, "adjust names no setting"),
        ({"adjust": ("depth",)}, "adjust is 'depth', but must be learning_rate, momentum"),
        ({"adjust": ("momentum",)}, "adjust names momentum, of which the run has none"),
        ({"subset": 8}, "subset is 8, but must be a whole number from 16 to 1,400"),
        ({"subset": 5000}, "subset is 5000, but must be a whole number from 16"),
        ({"adjust": ("learning_rate", "learning_rate")}, "adjust names a setting twice"),
        ({"networks": ((10, 1), (11, 1))}, "depth is 11"),
        ({"networks": (10, 1)}, "networks is .*, but must be pairs of depth and widen factor"),
        ({"seed": 1}, "seed is drawn by reset"),
        ({"reward_every": 0}, "reward_every is 0, but must be"),
        ({"penalty": -1}, "penalty is -1, but must be a number from 0 up"),
    ],
)
def test_what_cannot_be_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        make(**{"front_end": "keras"} | arguments)


def test_control_keeps_to_its_spaces():
    assert Control("factors", ("learning_rate",)).space == gymnasium.spaces.Discrete(3)
    assert Control("factors", ("learning_rate", "dropout")).space == gymnasium.spaces.MultiDiscrete(
        [3, 3]
    )
