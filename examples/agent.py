"""Teach an agent to set the learning rate: PPO from stable-baselines3, trained on real runs.

    pip install ".[agent]"
    python -m examples.agent

Each episode trains a small network on digits with another seed. Then five new seeds compare the
agent with constant and cosine schedules. Writes agent.png.
"""

import sys
from importlib.util import find_spec
from math import cos, pi
from statistics import mean, median

import wrn3d  # noqa: F401  (registers the environment)
from wrn3d.system.checks import require
from wrn3d.system.flags import run_without_flags

ITERATIONS, LEARNING_STEPS, HELD_OUT_SEEDS = 60, 12_000, range(1000, 1005)
SETTINGS = {
    "dataset": "digits",
    "depth": 10,
    "widen_factor": 1,
    "batch_size": 32,
    "momentum": 0.9,
    "nesterov": True,
    "iterations": ITERATIONS,
    "reward_every": 5,
}
RATES = (0.02, 0.05, 0.1, 0.2)


def constant(rate):
    """Return a policy: a function of the observation and the run's progress, from 0 to 1, that
    returns the action."""
    from wrn3d.rl.actions import RANGES

    return lambda observation, progress: [RANGES["learning_rate"].position_of(rate)]


def cosine(rate):
    """Return a policy that lowers the learning rate from `rate` to almost 0 by half a cosine."""

    def policy(observation, progress):
        return constant(rate * (1 + cos(pi * progress)) / 2)(observation, progress)

    return policy


def learn(env, steps, length, episodes=10):
    """Train PPO for `steps` iterations, in episodes of `length`; return its policy.

    It updates the policy after each `episodes` of them, and trains no more than whole ones.
    """
    from stable_baselines3 import PPO

    # log_std_init: the agent starts near the middle of the range and explores nearby. Rates from
    # the whole range would ruin every run and teach it to do nothing.
    agent = PPO(
        "MlpPolicy",
        env,
        n_steps=episodes * length,
        batch_size=length,
        gamma=1.0,
        learning_rate=1e-3,
        policy_kwargs={"log_std_init": -1.5},
        seed=0,
        verbose=1,
        device="cpu",
    )
    agent.learn(steps - steps % (episodes * length))  # it would round up
    return lambda observation, progress: agent.predict(observation, deterministic=True)[0]


def play(env, policy, **start):
    """Play the episode that `env.reset(**start)` begins; return its learning rates."""
    observation, info = env.reset(**start)
    rates, ended = [], False
    while not ended:
        action = policy(observation, info["iteration"] / env.training.total)
        observation, _, ended, _, info = env.step(action)
        rates.append(info["learning_rate"])
    return rates


def check_installed():
    """Raise UsageError if a package is missing."""
    missing = [name for name in ("gymnasium", "stable_baselines3") if not find_spec(name)]
    require(not missing, f'{" and ".join(missing)} not installed: pip install ".[agent]"')


def main():
    check_installed()
    import gymnasium  # here, so that --help is instant

    env = gymnasium.make("wrn3d/Training-v0", **SETTINGS).unwrapped
    policies = {"agent": learn(env, LEARNING_STEPS, ITERATIONS)}
    for rate in RATES:
        policies |= {f"constant {rate:g}": constant(rate), f"cosine {rate:g}": cosine(rate)}

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.figure(figsize=(9, 5))
    print(f"| schedule | test loss | accuracy | loss of each seed |\n{'| --- ' * 4}|")
    for name, policy in policies.items():
        rates, results = [], []
        for seed in HELD_OUT_SEEDS:
            rates.append(play(env, policy, seed=seed))
            results.append(env.training.evaluate())
        losses = [result.loss for result in results]
        print(
            f"| {name} | {mean(losses):.4f} | {mean(one.accuracy for one in results):.4f} | "
            f"{' '.join(f'{loss:.3f}' for loss in losses)} |",
            flush=True,
        )
        pyplot.semilogy(
            [median(column) for column in zip(*rates, strict=True)],
            label=f"{name}: test loss {mean(losses):.3f}",
        )
    pyplot.xlabel("iteration")
    pyplot.ylabel("learning rate, median of five held-out seeds")
    pyplot.legend(fontsize="small", loc="lower left")
    pyplot.savefig("agent.png", dpi=120, bbox_inches="tight")
    print("drawn in agent.png")


if __name__ == "__main__":
    sys.exit(run_without_flags(main, "examples.agent", __doc__))
