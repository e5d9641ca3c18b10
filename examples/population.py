"""Train a population, and compare it with schedules at equal iterations.

    python -m examples.population                   # digits
    python -m examples.population --data cifar10    # 5,000 of its images

Eight members share the iterations of examples/instances.py. Every 30 iterations the worst two copy
the best two and explore. The others use as many iterations for their whole search: the best of
eight constant rates, the best of eight cosines, looking ahead. Writes population-DATA.png.
"""

import sys
from statistics import mean

import wrn3d
from examples import instances
from wrn3d.system.flags import run_command


def train_population(run):
    """Train a population in `run`, and leave that in the best member's state; return it."""
    population = wrn3d.Population(run, instances.MEMBERS)
    for member in population:
        member.draw(learning_rate=(instances.RATES[0], instances.RATES[-1]))
    for turn in range(instances.LENGTH // instances.ROUND):
        if turn:
            population.evolve()
        population.step(instances.ROUND)
        population.evaluate()
    run.restore(population.best().state)
    return population


def main(config):
    controllers = {**instances.SCHEDULES, "population": train_population}
    accuracies = instances.compare(controllers, config.data)
    population = train_population(instances.Run(**instances.INSTANCES[config.data]))

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    _, (rates, scores) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    thick = {"color": "black", "linewidth": 4, "alpha": 0.4, "label": "best"}
    for member in population.ranked():
        lineage = map(member.lineage.settings_after, range(instances.LENGTH))
        style = thick if member is population.best() else {}
        rates.semilogy([settings["learning_rate"] for settings in lineage], **style)
    rates.set(xlabel="iteration", ylabel="learning rate", title="What made each member, seed 0")
    rates.legend()
    for place, found in enumerate(accuracies.values()):
        scores.plot(found, [place] * len(found), "o", alpha=0.6)
        scores.plot(mean(found), place, "k|", markersize=18)
    scores.set_yticks(range(len(accuracies)), list(accuracies))
    scores.set(xlabel="test accuracy", title=f"{config.data}: each seed, and the mean")
    pyplot.savefig(f"population-{config.data}.png", dpi=120)
    print(f"drawn in population-{config.data}.png")


if __name__ == "__main__":
    sys.exit(run_command(main, instances.Config, "examples.population", __doc__))
