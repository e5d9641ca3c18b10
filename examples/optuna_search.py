"""Search learning rate and weight decay with Optuna: prune bad trials, branch from good ones.

    pip install ".[tune]"
    python -m examples.optuna_search

Optuna asks for settings and is told the accuracy on the validation split every ROUND iterations. A
trial that is worse than the median is pruned. Every second trial starts from the snapshot that the
best one so far had at half of its length, with settings of its own. Takes a minute.
"""

import sys
from importlib.util import find_spec

from cifar_wide_resnet_tl import CNNEnv
from wrn3d.system.checks import require
from wrn3d.system.flags import run_without_flags

SETTINGS = {
    "dataset": "digits",
    "depth": 10,
    "widen_factor": 1,
    "batch_size": 64,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "validation": 300,
}
ITERATIONS, ROUND, ROUNDS = 1200, 20, 6  # in all, in a round; rounds of a trial
RANGES = {"learning_rate": (1e-3, 1), "weight_decay": (1e-5, 1e-2)}


def train(env, trial, rounds, ranges):
    """Train and report each round's validation accuracy; return it and the snapshots, or None.

    None says that the trial was pruned.
    """
    settings = {name: trial.suggest_float(name, *ends, log=True) for name, ends in ranges.items()}
    snapshots = []
    for number in rounds:
        for _ in range(ROUND):
            env.step(**settings)
        accuracy = env.evaluate("validation").accuracy
        snapshots.append(env.snapshot())
        trial.report(accuracy, number)
        if trial.should_prune():
            return None
    return accuracy, snapshots


def check_installed():
    """Raise UsageError if Optuna is missing."""
    require(find_spec("optuna"), 'Optuna is not installed: pip install ".[tune]"')


def search(env, iterations, all_rounds, ranges, seed=0):
    """Train at most some iterations, print each trial, and leave `env` in the best one's state.

    A trial has `all_rounds`, less half of them if it branches, and settings from `ranges`.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4),  # random ones
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )
    fresh, best, branch, end = env.snapshot(), -1.0, None, env.snapshot()
    while True:
        number = len(study.trials)
        branches = branch is not None and number % 2 == 1
        rounds = range(all_rounds // 2 if branches else 0, all_rounds)
        if len(rounds) * ROUND > iterations:
            break
        trial = study.ask()
        env.restore(branch if branches else fresh)
        result = train(env, trial, rounds, ranges)
        iterations -= env.iteration - rounds.start * ROUND
        origin = f"from iteration {rounds.start * ROUND:3}"
        rate = f"learning rate {trial.params['learning_rate']:.4f}"
        if result is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            print(f"trial {number:2} {origin}, {rate}: pruned after {env.iteration} iterations")
            continue
        accuracy, snapshots = result
        study.tell(trial, accuracy)
        print(f"trial {number:2} {origin}, {rate}: validation accuracy {accuracy:.4f}")
        if accuracy > best:
            best, end = accuracy, snapshots[-1]
            branch = branch if branches else snapshots[all_rounds // 2 - 1]
    env.restore(end)
    print(f"best validation accuracy {best:.4f}")


def main():
    check_installed()
    env = CNNEnv(**SETTINGS)
    search(env, ITERATIONS, ROUNDS, RANGES)
    print(f"test accuracy {env.evaluate().accuracy:.4f}")


if __name__ == "__main__":
    sys.exit(run_without_flags(main, "examples.optuna_search", __doc__))
