"""Compare controllers of the learning rate on published instances, at equal iterations.

    pip install ".[agent,tune]"
    python -m examples.controllers                   # digits
    python -m examples.controllers --data cifar10    # 5,000 of its images

examples/instances.py says what an instance is. To compare your own controller, write a function of
a `Run`, and add it to CONTROLLERS. Prints a table, and writes controllers-DATA.json. What that file
has is not computed again, so begin with the published one:

    cp docs/examples/controllers-digits.json .
"""

import sys
from functools import lru_cache
from statistics import mean, stdev

from examples import agent, instances, optuna_search
from examples.population import train_population
from wrn3d.system.flags import run_command
from wrn3d.system.reporting import markdown_table


def follow_agent(run):
    """Follow an agent that has learned on other seeds, with the iterations of all seeds."""
    agent.check_installed()
    env, policy = _trained_agent(tuple(run.instance.items()))
    run.spend(run.left)
    agent.play(env, policy, options={"run_seed": run.config.seed})
    run.restore(env.training.snapshot())


@lru_cache(maxsize=1)
def _trained_agent(instance):
    """Train an agent with the iterations that playing leaves; return (environment, policy)."""
    import gymnasium

    length = instances.LENGTH
    settings = {"iterations": length, "reward_every": instances.EVALUATE_EVERY}
    env = gymnasium.make("wrn3d/Training-v0", **dict(instance), **settings).unwrapped
    iterations = len(instances.SEEDS) * (instances.BUDGET - length)
    return env, agent.learn(env, iterations, length, episodes=5)


def search(run):
    """Search with Optuna, as examples/optuna_search.py does."""
    optuna_search.check_installed()
    rounds = instances.LENGTH // optuna_search.ROUND
    ranges = {"learning_rate": (instances.RATES[0], instances.RATES[-1])}
    optuna_search.search(run, run.left, rounds, ranges, seed=run.config.seed)


CONTROLLERS = {
    **instances.BASELINES,
    "agent": follow_agent,
    "population": train_population,
    "Optuna": search,
}


def main(config):
    rows = []
    for name, results in instances.compare(CONTROLLERS, config.data).items():
        found = [result["test accuracy"] for result in results]
        counts = [f"{mean(one[what] for one in results):.0f}" for what in ("used", "network")]
        rows.append([name, f"{mean(found):.4f} ± {stdev(found):.4f}", f"{min(found):.4f}", *counts])
    titles = ["controller", "test accuracy", "lowest", "iterations trained", "of the network"]
    print(markdown_table(titles, rows))


if __name__ == "__main__":
    sys.exit(run_command(main, instances.Config, "examples.controllers", __doc__))
