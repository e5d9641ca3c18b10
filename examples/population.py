"""Train a population, and compare it with schedules at equal iterations.

    python -m examples.population                   # digits
    python -m examples.population --data cifar10    # 5,000 of its images

Eight members share the iterations of examples/instances.py. Every 30 iterations the worst two copy
the best two and explore. The others use as many iterations for their whole search: the best of
eight constant rates, the best of eight cosines, looking ahead. Trains the population of seed 0 once
more for the picture, population-DATA.png.
"""

import sys
from statistics import mean

import wrn3d
from examples import instances
from wrn3d.system.flags import run_command


def train_population(run):
    """Train a population, leave `run` in the best member's state, and return the population."""
    rates, iterations = instances.RATES, instances.EVALUATE_EVERY
    population = wrn3d.Population(run, len(rates))
    for member in population:
        member.draw(learning_rate=(rates[0], rates[-1]))
    for turn in range(instances.LENGTH // iterations):
        if turn:
            population.evolve()
        population.step(iterations)
        population.evaluate()
    run.restore(population.best().state)
    return population


def main(config):
    controllers = {**instances.BASELINES, "population": train_population}
    results = instances.compare(controllers, config.data)
    population = train_population(instances.make_run(config.data))

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    _, (rates, scores) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    thick = {"color": "black", "linewidth": 4, "alpha": 0.4, "label": "best"}
    for member in population.ranked():
        lineage = map(member.lineage.settings_after, range(instances.LENGTH))
        style = thick if member is population.best() else {}
        rates.semilogy([settings["learning_rate"] for settings in lineage], **style)
    rates.set(
        xlabel="iteration", ylabel="learning rate", title="Rates that led to each member, seed 0"
    )
    rates.legend()
    for place, found in enumerate(results.values()):
        accuracies = [result["test accuracy"] for result in found]
        scores.plot(accuracies, [place] * len(found), "o", alpha=0.6)
        scores.plot(mean(accuracies), place, "k|", markersize=18)
    scores.set_yticks(range(len(results)), list(results))
    scores.set(xlabel="test accuracy", title=f"{config.data}: each seed, and the mean")
    pyplot.savefig(f"population-{config.data}.png", dpi=120)
    print(f"drawn in population-{config.data}.png")


if __name__ == "__main__":
    sys.exit(run_command(main, instances.Config, "examples.population", __doc__))
