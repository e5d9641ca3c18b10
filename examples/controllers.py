"""Compare controllers of the learning rate on published instances, at equal iterations.

    pip install ".[agent,tune]"
    python -m examples.controllers                   # digits
    python -m examples.controllers --data cifar10    # 5,000 of its images

examples/instances.py says what an instance is. To compare your own controller, write a function of
a `Run`, and add it to CONTROLLERS. Prints a table, and writes controllers-DATA.json. What that file
has is not computed again, so begin with the published one in docs/examples/.
"""

import sys
from functools import lru_cache
from statistics import mean, stdev

from examples import agent, instances, optuna_search
from examples.population import train_population
from wrn3d.system.flags import run_command
from wrn3d.system.reporting import markdown_table


def search(run):
    """Search with Optuna, as examples/optuna_search.py does."""
    rounds = instances.LENGTH // optuna_search.ROUND
    optuna_search.search(run, run.left, rounds, seed=run.config.seed)


def follow_agent(run):
    """Follow an agent that has learned on other seeds, with the iterations of all seeds."""
    env, policy = _learned(tuple(run.instance.items()))
    run.spend(run.left)
    env.reset(seed=0)
    observation, _ = env.restore(env.snapshot()._replace(checkpoint=run.snapshot()))
    ended = False
    while not ended:
        observation, _, ended, _, _ = env.step(policy(observation, None))
    run.restore(env.training.snapshot())


@lru_cache(maxsize=1)
def _learned(instance):
    """Return an agent's (environment, policy): it has learned what playing leaves of the budget."""
    import gymnasium

    length, measured = instances.LENGTH, instances.ROUND
    settings = dict(instance) | {"iterations": length, "reward_every": measured}
    env = gymnasium.make("wrn3d/Training-v0", **settings).unwrapped
    steps = len(instances.SEEDS) * (instances.BUDGET - length)
    return env, agent.learn(env, steps, length, episodes=5)


CONTROLLERS = {
    **instances.SCHEDULES,
    "agent": follow_agent,
    "population": train_population,
    "Optuna": search,
}


def main(config):
    agent.check_installed()
    optuna_search.check_installed()
    rows = [
        [name, f"{mean(found):.4f} ± {stdev(found):.4f}", f"{min(found):.4f}"]
        for name, found in instances.compare(CONTROLLERS, config.data).items()
    ]
    print(markdown_table(["controller", "test accuracy", "lowest"], rows))


if __name__ == "__main__":
    sys.exit(run_command(main, instances.Config, "examples.controllers", __doc__))
