"""Training as a Gymnasium environment."""

import functools
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import wrn3d  # noqa: F401  (registers the environment)
from benchmarks.episodes import graphs
from tests.support.environments import SCRIPTS
from tests.support.interrupts import interrupt, moments
from tests.support.processes import FROM_ANYWHERE, run_command
from wrn3d import Checkpoint
from wrn3d.rl.actions import RANGES
from wrn3d.rl.environment import HELD_OUT
from wrn3d.system.errors import UsageError

SMALL = {
    "dataset": "digits",
    "volume_size": 8,
    "depth": 10,
    "widen_factor": 1,
    "batch_size": 16,
    "iterations": 8,
    "reward_every": 2,
    "learning_rate": 0.05,
}
SMALL_RUN = {name: value for name, value in SMALL.items() if name != "reward_every"} | {
    "validation": HELD_OUT
}
NETWORKS = (10, 1), (10, 2)
ALL = {"momentum": 0.9, "weight_decay": 5e-4, "dropout": 0.2, "adjust": tuple(RANGES)}


def make(front_end="tensorlayer", **arguments):
    """Return an environment. Most tests use one front end: episodes are the same in either."""
    return gymnasium.make("wrn3d/Training-v0", front_end=front_end, **SMALL | arguments).unwrapped


made = functools.cache(make)  # for tests that start with a reset


def play(env, seed, actions):
    """Play an episode and return everything that an agent sees of it."""
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


@pytest.mark.parametrize(
    "front_end, arguments",
    [
        ("tensorlayer", {}),
        ("keras", ALL | {"control": "factors"}),
        pytest.param("tensorlayer", {"control": "factors"}, marks=pytest.mark.slow),
        pytest.param("keras", ALL, marks=pytest.mark.slow),
    ],
)
def test_gymnasiums_checker_finds_nothing(front_end, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the checker's findings
        check_env(made(front_end, **arguments))


SEVERAL = """
import gymnasium
import numpy as np
import wrn3d  # noqa: F401  (registers the environment)
arguments = {arguments!r}
for mode in ("async", "sync"):
    env = gymnasium.make_vec("wrn3d/Training-v0", 2, mode, **arguments)
    print(env.reset(seed=[3, 4])[0].tobytes().hex())
    for action in {actions!r}:
        print(env.step(np.array(action, np.float32))[0].tobytes().hex())
    env.close()
try:  # TensorFlow runs in this process now
    gymnasium.make_vec("wrn3d/Training-v0", 2, "async", **arguments).reset(seed=0)
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_several_at_once_are_the_same_as_one_each(tmp_path):
    actions = [[[0.1], [-0.3]], [[0.5], [0.2]]]
    program = tmp_path / "several.py"
    program.write_text(SEVERAL.format(arguments=SMALL, actions=actions))
    process = run_command(program, env=FROM_ANYWHERE)
    assert process.returncode == 0, process.stderr
    *lines, message = process.stdout.splitlines()
    together = [np.frombuffer(bytes.fromhex(line), np.float32).reshape(2, -1) for line in lines]
    for number, seed in enumerate((3, 4)):
        seen = play(made(), seed, [np.array(action[number], np.float32) for action in actions])
        alone = [seen[0], *seen[1::5]]
        for observations, one in zip(together, alone * 2, strict=True):
            assert np.array_equal(observations[number], one)
    assert "vector_kwargs={'context': 'spawn'}" in message


def test_the_same_seed_and_actions_are_the_same_episode_in_either_front_end():
    env, other = (made(name, **ALL) for name in SCRIPTS)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(8)]
    first = play(env, 5, actions)
    assert first[-3] is True  # it ended
    play(env, 6, actions[:3])
    assert equal(play(env, 5, actions), first)
    assert equal(play(other, 5, actions), first)
    assert not equal(play(env, 6, actions), first)


@pytest.mark.parametrize("reward, sign", [("loss", -1), ("accuracy", 1)])
def test_rewards_add_up_to_the_gain_on_the_validation_split(reward, sign):
    env = made() if reward == "loss" else make(reward=reward)
    name = f"validation_{reward}"
    _, start = env.reset(seed=1)
    steps = [env.step(np.array([0.2], np.float32)) for _ in range(8)]
    rewards, end = [step[1] for step in steps], steps[-1][-1]
    assert sum(rewards) == pytest.approx(sign * (end[name] - start[name]), abs=1e-6)
    assert [number != 0 for number in rewards[::2]] == [False] * 4
    assert end["validation_loss"] == env.training.evaluate("validation").loss
    dataset = env.training.dataset
    assert dataset.validation_labels.size == 100 and env.training.num_examples == 1400


def test_actions_decide_the_settings():
    env = made(**ALL)
    env.reset(seed=0)
    *_, info = env.step(np.array([-1, -1, 1, 1], np.float32))
    for name, value in (
        ("learning_rate", 1e-4),
        ("momentum", 0.5),
        ("weight_decay", 1e-2),
        ("dropout", 0.8),
    ):
        assert info[name] == pytest.approx(value)


def test_the_learning_rate_is_observed_even_if_the_schedule_sets_it():
    env = make(adjust=("momentum",), momentum=0.9, schedule="linear")
    observation, info = env.reset(seed=0)
    for iteration in range(8):
        assert info["learning_rate"] == pytest.approx(0.05 * (1 - max(0, iteration - 1) / 8))
        place = env.observer.names.index("learning_rate")
        assert observation[place] == pytest.approx(
            RANGES["learning_rate"].position_of(info["learning_rate"]), abs=1e-6
        )
        observation, *_, info = env.step([0.5])


def test_an_invalid_action_moves_nothing():
    env = made()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="^action is nan"):
        env.step(np.nan)
    assert env.training.iteration == 0


def test_a_step_needs_a_running_episode():
    with pytest.raises(ValueError, match="call reset"):
        make().step([0.1])
    env = made()
    assert len(play(env, 0, [[0.1]] * 20)) == 1 + 8 * 5
    with pytest.raises(ValueError, match="call reset"):
        env.step([0.1])


@pytest.mark.parametrize(
    "front_end", ["tensorlayer", pytest.param("keras", marks=pytest.mark.slow)]
)
def test_an_episode_goes_back_to_any_moment_of_it(front_end):
    env = made(front_end, networks=NETWORKS, subset=64)
    env.reset(seed=3)
    env.step([0.4])
    moment = env.snapshot()
    first = [env.step([0.3]) for _ in range(4)]
    for seed in range(3):
        env.reset(seed=seed)
        env.step([-0.5])
        observation, info = env.restore(moment)
        assert np.array_equal(observation, moment.observation) and info["iteration"] == 1
        for expected in first:
            observation, *rest = env.step([0.3])
            assert np.array_equal(observation, expected[0]) and rest == list(expected[1:])


@pytest.mark.parametrize(
    "name", ["step", *(pytest.param(name, marks=pytest.mark.slow) for name in ("reset", "restore"))]
)
def test_a_signal_gets_out_when_the_call_has_ended(name):
    """With an exception from another thread instead, the episode may end."""
    env = made()
    env.reset(seed=1)
    later = play_on(env, 3)
    calls = {
        "step": lambda: env.step(np.zeros(1, np.float32)),
        "reset": lambda: env.reset(seed=2),
        "restore": lambda: env.restore(later),
    }
    env.reset(seed=1)
    start = env.snapshot()
    for source in ("signal", "thread"):
        seen = []
        for moment in (0.0, None, *moments(calls[name], 8)):
            env.restore(start)
            if moment is None:
                calls[name]()
            elif moment:
                interrupt(source, moment, calls[name])
            if not env.over:
                seen.append([env.training.iteration, *play_on(env, 1).observation])
            else:
                assert source == "thread"
        assert all(one in seen[:2] for one in seen)


def play_on(env, steps):
    for _ in range(steps):
        env.step(np.zeros(1, np.float32))
    return env.snapshot()


def test_divergence_on_the_validation_split_alone_ends_the_episode():
    env = made(penalty=3)
    env.reset(seed=0)
    env.step([0.1])
    weights = env.training.get_weights()
    weights["bn.running_var"][:] = np.nan  # training does not read it
    env.training.set_weights(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, reward, terminated, _, info = env.step([0.1])
    assert (reward, terminated, info["diverged"]) == (-3.0, True, True)
    assert np.isfinite(info["loss"])


def test_divergence_ends_the_episode_with_the_penalty():
    env = made(penalty=3)
    env.reset(seed=0)
    weights = env.training.get_weights()
    weights["fc.weight"][:] = np.inf
    env.training.set_weights(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observation, reward, terminated, truncated, info = env.step(np.array([1.0], np.float32))
    assert (reward, terminated, truncated, info["diverged"]) == (-3.0, True, False, True)
    assert env.observation_space.contains(observation) and np.isfinite(observation).all()
    observation, info = env.reset(seed=0)
    assert not equal([observation], play(made(), 1, []))
    assert equal([observation], play(made(), 0, []))


def test_a_large_loss_costs_the_penalty_and_can_be_made_good():
    env = made(penalty=3)
    _, start = env.reset(seed=0)
    env.step([-1])
    weights = env.training.get_weights()
    env.training.set_weights(weights | {"bn.running_mean": weights["bn.running_mean"] * 1000})
    _, lost, terminated, _, info = env.step([-1])
    assert info["validation_loss"] > 3 and not terminated
    assert lost == pytest.approx(start["validation_loss"] - 3)
    env.training.set_weights(weights)
    env.step([-1])
    _, won, *_, info = env.step([-1])
    assert won == pytest.approx(3 - info["validation_loss"])


def test_a_reward_function_must_give_a_number():
    rewards = iter([0.5, None])
    env = make(reward=lambda before, after: next(rewards))
    env.reset(seed=0)
    assert [env.step([0.1])[1] for _ in range(3)] == [0.0, 0.5, 0.0]
    with pytest.raises(
        ValueError, match="the reward function returned None, but must return a finite number"
    ):
        env.step([0.1])


def test_class_weights_do_not_depend_on_earlier_subsets():
    env = make(subset=64, class_weights=True)
    actions = [np.array([0.3], np.float32)] * 3
    first = play(env, 5, actions)
    play(env, 6, actions)
    assert equal(play(env, 5, actions), first)


def test_settings_come_from_a_recipe_too(tmp_path):
    recipe = tmp_path / "short.toml"
    recipe.write_text(
        'dataset = "digits"\nvolume_size = 8\ndepth = 10\nwiden_factor = 1\nbatch_size = 16\n'
        "validation = 300\nepochs = 2\n"
    )
    env = gymnasium.make("wrn3d:wrn3d/Training-v0", recipe=str(recipe), subset=64).unwrapped
    env.reset(seed=0)
    assert len(env.training.dataset.validation_labels) == 300
    assert env.training.total == 8
    assert env.training.config.learning_rate == 0.01


def test_networks_and_subsets_are_drawn_by_the_seed():
    env = made("tensorlayer", networks=NETWORKS, subset=64)

    def draw(seed):
        env.reset(seed=seed)
        training = env.training
        assert training.num_examples == 64 == len(training.y_train)
        env.step(np.array([0.0], np.float32))
        return training.spec.widen_factor, tuple(training.y_train.tolist())

    drawn = {seed: draw(seed) for seed in range(5)}
    assert {width for width, _ in drawn.values()} == {1, 2}
    assert len({labels for _, labels in drawn.values()}) == 5
    assert draw(3) == drawn[3]


@pytest.mark.parametrize(
    "front_end, arguments",
    [
        ("keras", {"sizes": (0.5, 1.0), "iterations": 2}),
        pytest.param("keras", {}, marks=pytest.mark.slow),
        pytest.param("tensorlayer", {}, marks=pytest.mark.slow),
        pytest.param("tensorlayer", {"sizes": (0.5, 1.0), "iterations": 2}, marks=pytest.mark.slow),
    ],
)
def test_episodes_leave_no_graphs_behind(front_end, arguments):
    env = make(front_end, dropout=0.1, **arguments)
    play(env, 0, [np.array([0.1], np.float32)] * 2)
    before = graphs()
    assert before > 0
    for seed in range(1, 4):
        play(env, seed, [np.array([seed / 6], np.float32)] * 2)
    assert graphs() == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"front_end": "torch"}, "front_end is 'torch', but must be tensorlayer"),
        ({"reward": "luck"}, "reward is 'luck', but must be loss or accuracy"),
        ({"control": "steering"}, "control is 'steering', but must be continuous or factors"),
        ({"adjust": ()}, "adjust names no setting"),
        ({"adjust": ("depth",)}, "adjust is 'depth', but must be learning_rate, momentum"),
        ({"adjust": ("momentum",)}, "adjust names momentum, but it is 0 in this run"),
        ({"subset": 8}, "subset is 8, but must be a whole number from 16 to 1,400"),
        ({"subset": 5000}, "subset is 5000, but must be a whole number from 16"),
        ({"adjust": ("learning_rate", "learning_rate")}, "adjust names a setting twice"),
        ({"networks": ((10, 1), (11, 1))}, "depth is 11"),
        ({"networks": (10, 1)}, "networks is .*, but must be pairs of depth and widen factor"),
        ({"seed": 1}, "seed comes from reset"),
        ({"reward_every": 0}, "reward_every is 0, but must be"),
        ({"penalty": -1}, "penalty is -1, but must be a number from 0 up"),
    ],
)
def test_invalid_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**{"front_end": "keras"} | arguments)


@pytest.mark.parametrize("moment", [None, 3, Checkpoint({})])
def test_only_a_moment_is_restored(moment):
    with pytest.raises(ValueError, match=r"^restore takes a Moment from snapshot\(\)$"):
        make("keras").restore(moment)


def test_parts_that_are_frozen_are_not_observed():
    env = make(freeze=("conv0", "group0"))
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    names = [name for name in env.observer.names if "norm" in name]
    assert not any(part in name for name in names for part in ("conv0", "group0"))
    assert sum("group1" in name for name in names) == 2


def test_the_run_may_have_a_chosen_seed():
    """Its seed decides the episode, whatever is drawn; a CNNEnv with it trains to the same loss."""
    env, found = made(), []
    for seed in (0, 1):
        observation, _ = env.reset(seed=seed, options={"run_seed": 3})
        found.append([observation, *env.step([0.5])])
    assert equal(found[0], found[1])
    alone = type(env.training)(**SMALL_RUN, seed=3)
    assert found[0][-1]["loss"] == alone.step(learning_rate=env.settings["learning_rate"]).loss
    for options, message in (
        ({"run_seed": -1}, "run_seed is -1, but must be a whole number from 0 up"),
        ({"seed": 1}, "option is 'seed', but must be run_seed"),
    ):
        with pytest.raises(UsageError, match=message):
            env.reset(options=options)
    assert env.step([0.5])[-1]["iteration"] == 2  # the episode goes on
