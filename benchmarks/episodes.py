"""What it costs to drive a run from outside, measured on this machine.

python -m benchmarks.episodes            # needs requirements-rl.txt; ten minutes
"""

import gc
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

import numpy as np
import tyro

from wrn3d.system import machine
from wrn3d.system.checks import check_count, require
from wrn3d.system.exit_status import exit_status
from wrn3d.system.memory import resident_memory

WARM_UP = 3  # iterations, in which graphs are built and memory settles
SETTLED = 50  # resets after which memory is expected to stay
ENDLESS = 10**6  # iterations: no episode ends in a measurement
ACTION = np.array([-0.5], np.float32)  # a learning rate of 0.001: nothing diverges
TRAINING = {"dataset": "digits", "shortcut": "projection", "momentum": 0.9, "nesterov": True}


@dataclass(frozen=True)
class EpisodeCosts:
    """The environment against bare `step()`, going back against a step, and resets in a row."""

    front_ends: tuple[str, ...] = ("tensorlayer", "keras")
    """Whose."""
    rounds: int = 20
    """Alternations of bare steps with as many through the environment; of steps with snapshots."""
    resets: int = 1000
    """Episodes of one iteration, in a row."""


def main() -> int:
    """Measure and print; returns the exit status."""
    return exit_status(
        measure,
        tyro.cli(
            EpisodeCosts, prog="python -m benchmarks.episodes", description=__doc__.splitlines()[0]
        ),
    )


def measure(config):
    """Print each figure when it is there; raises UsageError for counts that cannot be."""
    require(
        find_spec("gymnasium"), "gymnasium is not installed: pip install -r requirements-rl.txt"
    )
    rounds, resets = check_count("rounds", config.rounds), check_count("resets", config.resets)
    print(machine.sentence(machine.describe()), flush=True)
    for front_end in config.front_ends:
        # The resets first: in a process that has held more, what they leave would not show.
        print(beginning_anew(front_end, resets), flush=True)
        print(through_the_environment(front_end, rounds), flush=True)
        print(going_back(front_end, rounds), flush=True)


def make(front_end, **settings):
    import gymnasium

    import wrn3d  # noqa: F401  (registers the environment)

    return gymnasium.make("wrn3d/Training-v0", front_end=front_end, **TRAINING | settings)


def through_the_environment(front_end, rounds):
    """WRN-16-1, batches of 128: iterations/s through Gymnasium, rewards measured as usual, against
    those of its own CNNEnv."""
    env = make(front_end, depth=16, widen_factor=1, batch_size=128, iterations=ENDLESS)
    env.reset(seed=0)
    training = env.unwrapped.training
    count = env.unwrapped.reward_every
    ways = {"bare": training.step, "through": lambda: env.step(ACTION)}
    rates = {way: [] for way in ways}
    for _ in range(WARM_UP):
        env.step(ACTION)
    training.evaluate("validation")
    for number in range(rounds):
        for way in sorted(ways, reverse=number % 2):  # each is first in turn
            rates[way].append(count / seconds(ways[way], count))
    ratios = [through / bare for bare, through in zip(*rates.values(), strict=True)]
    return (
        f"{front_end}: WRN-16-1, batch 128: {median(rates['through']):.2f} iterations/s "
        f"through Gymnasium, {median(rates['bare']):.2f} by bare step(): {median(ratios):.1%} "
        f"({min(ratios):.1%} to {max(ratios):.1%} in {rounds} rounds of {count})"
    )


def going_back(front_end, rounds):
    """WRN-16-4, batches of 128: seconds of snapshot and restore against a step's."""
    env = make(front_end, depth=16, widen_factor=4, batch_size=128, iterations=ENDLESS)
    env.reset(seed=0)
    training = env.unwrapped.training
    for _ in range(WARM_UP):
        training.step()
    state = training.snapshot()
    calls = {
        "step": training.step,
        "snapshot": training.snapshot,
        "restore": lambda: training.restore(state),
    }
    times = [[seconds(call) for call in calls.values()] for _ in range(rounds)]
    step, snapshot, restore = (median(column) for column in zip(*times, strict=True))
    return (
        f"{front_end}: WRN-16-4, batch 128: a step {step * 1000:.0f} ms, a snapshot "
        f"{snapshot * 1000:.1f} ms ({snapshot / step:.1%} of it), a restore "
        f"{restore * 1000:.1f} ms ({restore / step:.1%})"
    )


def beginning_anew(front_end, resets):
    """WRN-10-1: what a reset and an iteration after it leave behind."""
    env = make(front_end, depth=10, widen_factor=1, batch_size=32, iterations=ENDLESS)

    def episodes(seeds):
        for seed in seeds:
            env.reset(seed=seed)
            env.step(ACTION)
        return graphs(), resident_memory() / 2**20

    graphs_before, memory_before = episodes(range(SETTLED))
    graphs_after, memory_after = episodes(range(SETTLED, SETTLED + resets))
    return (
        f"{front_end}: {resets} resets: {graphs_after - graphs_before:+d} graphs "
        f"(of {graphs_before}), {memory_after - memory_before:+.1f} MiB (of "
        f"{memory_before:.0f})"
    )


def graphs():
    """TensorFlow's graphs that are alive in this process."""
    gc.collect()
    return sum(type(found).__name__ == "FuncGraph" for found in gc.get_objects())


def seconds(call, times=1):
    start = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
