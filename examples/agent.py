"""An agent learns to set the learning rate: PPO of stable-baselines3, trained on real runs.

    pip install -r requirements-rl.txt
    python examples/agent.py

Each episode trains a small network on digits from another seed. Afterwards the agent is compared
with constant and cosine schedules on five seeds that it has not seen. Writes agent.png.
"""
import math
import sys
from pathlib import Path
from statistics import mean

import gymnasium
import numpy as np
from stable_baselines3 import PPO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import wrn3d.episodes
from wrn3d.episodes.actions import RANGES

ITERATIONS, LEARNING_STEPS, HELD_OUT_SEEDS = 60, 12_000, range(1000, 1005)
SETTINGS = {"dataset": "digits", "depth": 10, "widen_factor": 1, "batch_size": 32,
            "learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "iterations": ITERATIONS}
RATES = (0.02, 0.05, 0.1, 0.2)


def constant(rate):
    """A policy: observation and share of the run that is over -> action."""
    return lambda observation, share: [RANGES["learning_rate"].position_of(rate)]


def cosine(rate):
    return lambda observation, share: constant(rate * (1 + math.cos(math.pi * share)) / 2)(0, 0)


def play(env, seed, policy):
    """An episode: loss and accuracy on the test images after it, and the rates that it took."""
    observation, info = env.reset(seed=seed)
    rates, ended = [], False
    while not ended:
        action = np.array(policy(observation, info["iteration"] / ITERATIONS), np.float32)
        observation, _, ended, _, info = env.step(action)
        rates.append(info["learning_rate"])
    return env.unwrapped.training.evaluate(), rates


def main():
    env = gymnasium.make(wrn3d.episodes.ID, reward_every=5, **SETTINGS)
    agent = PPO("MlpPolicy", env, n_steps=10 * ITERATIONS, batch_size=ITERATIONS, gamma=1.0,
                ent_coef=1e-3, seed=0, verbose=1, device="cpu")
    agent.learn(LEARNING_STEPS)
    policies = {"agent": lambda observation, share: agent.predict(observation,
                                                                  deterministic=True)[0]}
    for rate in RATES:
        policies |= {f"constant {rate:g}": constant(rate), f"cosine {rate:g}": cosine(rate)}
    episodes = {name: [play(env, seed, policy) for seed in HELD_OUT_SEEDS]
                for name, policy in policies.items()}
    print(f"| schedule | test loss | accuracy | each |\n{'| --- ' * 4}|")
    for name, found in episodes.items():
        losses = [result.loss for result, _ in found]
        print(f"| {name} | {mean(losses):.4f} | {mean(one.accuracy for one, _ in found):.4f} | "
              f"{' '.join(f'{loss:.3f}' for loss in losses)} |")
    draw(episodes)


def draw(episodes):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    for name, found in episodes.items():
        label = f"{name}: test loss {mean(result.loss for result, _ in found):.3f}"
        pyplot.semilogy(np.median([rates for _, rates in found], axis=0), label=label,
                        linewidth=3 if name == "agent" else 1)
    pyplot.gcf().set_size_inches(9, 5)
    pyplot.xlabel("iteration")
    pyplot.ylabel("learning rate, median of five held-out seeds")
    pyplot.legend(fontsize="small", loc="lower left")
    pyplot.savefig("agent.png", dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()
