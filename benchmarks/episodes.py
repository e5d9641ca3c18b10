"""Measure the cost of driving a run from outside.

python -m benchmarks.episodes            # needs requirements-rl.txt; ten minutes
"""

import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

from wrn3d.system import machine
from wrn3d.system.checks import check_count, require
from wrn3d.system.flags import run_command
from wrn3d.system.memory import resident_memory
from wrn3d.system.words import counted

WARM_UP = 3  # iterations that build graphs and settle memory
SETTLED = 50  # resets that settle memory
ENDLESS = 10**6  # iterations, so that no episode ends during a measurement
ACTION = np.array([-0.5], np.float32)  # a learning rate of 0.001: nothing diverges
FRONT_ENDS = ("tensorlayer", "keras")
TRAINING: dict[str, Any] = {
    "dataset": "digits",
    "shortcut": "projection",
    "momentum": 0.9,
    "nesterov": True,
}


@dataclass(frozen=True)
class EpisodeCosts:
    """How often to measure. The costs are Gymnasium's, those of snapshots, and those of resets."""

    rounds: int = 20
    """Alternations between bare steps and as many through Gymnasium, and of steps and snapshots."""
    resets: int = 1000
    """Episodes of one iteration, in a row."""


def main() -> int:
    """Measure and print; return the exit status."""
    return run_command(measure, EpisodeCosts, "benchmarks.episodes", __doc__)


def measure(config: EpisodeCosts) -> None:
    """Measure and print one figure after the other; raise UsageError for invalid settings."""
    require(
        find_spec("gymnasium"), "gymnasium is not installed: pip install -r requirements-rl.txt"
    )
    rounds, resets = check_count("rounds", config.rounds), check_count("resets", config.resets)
    print(machine.sentence(machine.describe()), flush=True)
    for front_end in FRONT_ENDS:
        # Resets come first: once the process has held more memory, what they leave would not show.
        print(beginning_anew(front_end, resets), flush=True)
        print(through_gymnasium(front_end, rounds), flush=True)
        print(going_back(front_end, rounds), flush=True)


def make(front_end: str, **settings: Any) -> Any:
    """Return Gymnasium's environment of a front end."""
    import gymnasium

    import wrn3d  # noqa: F401  (registers the environment)

    return gymnasium.make("wrn3d/Training-v0", **TRAINING | {"front_end": front_end} | settings)


def beginning_anew(front_end: str, resets: int) -> str:
    """Report the graphs and memory that resets leave; each episode is a step of WRN-10-1."""
    env = make(front_end, depth=10, widen_factor=1, batch_size=32)

    def play(seeds):
        for seed in seeds:
            env.reset(seed=seed)
            env.step(ACTION)
        return graphs(), resident_memory() / 2**20

    graphs_before, memory_before = play(range(SETTLED))
    graphs_after, memory_after = play(range(SETTLED, SETTLED + resets))
    return (
        f"{front_end}: {counted(resets, 'reset')}: {graphs_after - graphs_before:+d} graphs "
        f"(of {graphs_before}), {memory_after - memory_before:+.1f} MiB (of "
        f"{memory_before:.0f})"
    )


def through_gymnasium(front_end: str, rounds: int) -> str:
    """Report iterations/s of WRN-16-1, batch 128: through Gymnasium, with rewards, and by the bare
    `step()` of the CNNEnv."""
    env = make(front_end, depth=16, widen_factor=1, batch_size=128)
    env.reset(seed=0)
    training, count = env.unwrapped.training, env.unwrapped.reward_every
    for _ in range(WARM_UP):
        env.step(ACTION)
    training.evaluate("validation")
    through, bare = alternations([lambda: env.step(ACTION), training.step], rounds, count)
    shares = bare / through
    return (
        f"{front_end}: WRN-16-1, batch 128: {1 / median(through):.2f} iterations/s "
        f"through Gymnasium, {1 / median(bare):.2f} by bare step(): {median(shares):.1%} "
        f"({min(shares):.1%} to {max(shares):.1%} in {counted(rounds, 'round')} of {count})"
    )


def going_back(front_end: str, rounds: int) -> str:
    """Report the time of a snapshot and a restore of WRN-16-4, batch 128, against a step's."""
    env = make(front_end, depth=16, widen_factor=4, batch_size=128)
    env.reset(seed=0)
    training = env.unwrapped.training
    for _ in range(WARM_UP):
        training.step()
    state = training.snapshot()
    calls = [training.step, training.snapshot, lambda: training.restore(state)]
    step, snapshot, restore = map(median, alternations(calls, rounds))
    return (
        f"{front_end}: WRN-16-4, batch 128: a step {step * 1000:.0f} ms, a snapshot "
        f"{snapshot * 1000:.1f} ms ({snapshot / step:.1%} of it), a restore "
        f"{restore * 1000:.1f} ms ({restore / step:.1%})"
    )


def alternations(calls: Sequence[Callable[[], Any]], rounds: int, times: int = 1) -> np.ndarray:
    """Return the seconds of each call, (calls, rounds).

    Each number is the mean of `times` repetitions. Every other round reverses the order of calls.
    """
    seconds = np.zeros((len(calls), rounds))
    for number in range(rounds):
        for place in list(range(len(calls)))[:: -1 if number % 2 else 1]:
            start = time.perf_counter()
            for _ in range(times):
                calls[place]()
            seconds[place, number] = (time.perf_counter() - start) / times
    return seconds


def graphs() -> int:
    """Return the number of TensorFlow graphs in this process."""
    gc.collect()
    return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())


if __name__ == "__main__":
    sys.exit(main())
