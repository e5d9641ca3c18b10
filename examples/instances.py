"""Published instances, on which controllers of the learning rate are compared.

An instance is a data set, a network and a seed. A controller is a function. It gets a `Run` at
iteration 0, trains it, and leaves it with the weights to be judged:

    def constant(run):
        while run.iteration < LENGTH:
            run.step(learning_rate=0.1)

It may train BUDGET iterations in all, also in members and trials that it discards, and choose by
the validation split. The test split is used for the result alone.
"""

import json
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import wrn3d
from cifar_wide_resnet_tl import CNNEnv
from examples import look_ahead
from wrn3d.system.checks import check_choice, require
from wrn3d.system.errors import DataError, reason
from wrn3d.system.files import atomic_file, write_atomic

BUDGET, SEEDS = 2400, range(5)
RATES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
LENGTH = BUDGET // len(RATES)  # iterations of a network, if a search has one for each rate
EVALUATE_EVERY = 30  # iterations, in searches that compare networks on the way
CIFAR = Path("data/cifar10-5000.npz")
SETTINGS = {
    "widen_factor": 1,
    "batch_size": 32,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "augment": True,
}
INSTANCES = {
    "digits": SETTINGS
    | {"dataset": "digits", "volume_size": 16, "validation": 300, "flip_axes": (), "depth": 10},
    "cifar10": SETTINGS | {"dataset": str(CIFAR), "depth": 16},
}


class Run(CNNEnv):
    """A `CNNEnv` for a controller: it counts iterations, and keeps the test split back.

    `instance` has its settings, `left` the iterations that may still be trained.
    """

    def __init__(self, **instance):
        super().__init__(**instance)
        self.instance, self.left = instance, BUDGET

    def spend(self, iterations):
        """Count iterations; raise UsageError if fewer are left."""
        message = f"a controller may train {BUDGET} iterations: stop when run.left is 0"
        require(iterations <= self.left, message)
        self.left -= iterations

    def step(self, **settings):
        """Train on the next batch, as `CNNEnv.step` does; raise UsageError if none is left."""
        self.spend(1)
        return super().step(**settings)

    def evaluate(self, split="validation", **options):
        """Return the scores on a split; raise UsageError for the test split."""
        require(split != "test", 'the test split is for the result: evaluate("validation")')
        return super().evaluate(split, **options)


def judge(controller, run, seed):
    """Let a controller train the instance of a seed; return what it reached and used."""
    run.use_only(None)
    run.reset(seed=seed)
    run.left = BUDGET
    controller(run)
    accuracy = CNNEnv.evaluate(run).accuracy
    return {"test accuracy": accuracy, "used": BUDGET - run.left, "network": run.iteration}


def best_constant(run):
    """Train a network with each of RATES; keep the best."""
    _keep_best(run, [lambda _, rate=rate: rate for rate in RATES])


def best_cosine(run):
    """Train a network with half a cosine from each of RATES; keep the best."""
    _keep_best(run, [lambda x, rate=rate: rate * (1 + cos(pi * x)) / 2 for rate in RATES])


def best_ahead(run):
    """Look ahead as examples/look_ahead.py does, as long as the iterations last."""
    tried, cooling = len(look_ahead.RATES), look_ahead.COOLING
    saved = tried * cooling  # the last round has no cooling
    look_ahead.look_ahead(run, (run.left + saved) // (tried * (look_ahead.ROUND + cooling)))


def _keep_best(run, schedules):
    """Train a network with each schedule, a function of its progress from 0 to 1; keep the best."""
    start, results = run.snapshot(), []
    for rate in schedules:
        run.restore(start)
        for done in range(LENGTH):
            run.step(learning_rate=rate(done / LENGTH))
        results.append((run.evaluate("validation").accuracy, run.snapshot()))
    run.restore(max(results, key=lambda result: result[0])[1])


BASELINES = {
    "best constant rate": best_constant,
    "best cosine": best_cosine,
    "look ahead": best_ahead,
}


@dataclass(frozen=True)
class Config:
    """The instances."""

    data: Annotated[str, tyro.conf.arg(metavar="{digits,cifar10}")] = "digits"
    """Data set."""


def compare(controllers, data):
    """Return a list of results, one for each of SEEDS, for each controller, by name.

    They are kept in controllers-DATA.json. What that file has is not computed again, so that an
    interrupted comparison goes on: delete a controller's entry after changing it. Raises DataError
    for a file that cannot be read, and UsageError for results of other instances.
    """
    path = Path(f"controllers-{check_choice('data', data, INSTANCES)}.json")
    instance = json.loads(json.dumps({"iterations": BUDGET, **INSTANCES[data]}))  # tuples as lists
    results, run = _read(path, instance), None
    for seed in SEEDS:
        for name, controller in controllers.items():
            found = results.setdefault(name, [])
            if len(found) == seed:
                run = run or make_run(data)
                found.append(judge(controller, run, seed))
                print(f"{name}, {data}, seed {seed}: {found[seed]}", flush=True)
                content = json.dumps({"instance": instance, "results": results}, indent=1)
                write_atomic(path, f"{content}\n".encode())
    return {name: results[name] for name in controllers}


def make_run(data):
    """Return a run of an instance; write the images of CIFAR-10 if they are missing."""
    if data == "cifar10" and not CIFAR.exists():
        write_cifar()
    return Run(**INSTANCES[data])


def write_cifar():
    """Write 5,000 training images of CIFAR-10, 500 more for validation, and its test images."""
    data = wrn3d.load_dataset("cifar10")
    images, labels = data.train_volumes[:, 0], data.train_labels  # (N, H, W, C)
    with atomic_file(CIFAR) as unfinished:
        np.savez(
            unfinished,
            train_images=images[:5000],
            train_labels=labels[:5000],
            val_images=images[5000:5500],
            val_labels=labels[5000:5500],
            test_images=data.test_volumes[:, 0],
            test_labels=data.test_labels,
            class_names=data.class_names,
        )


def _read(path, instance):
    """Return the results in a file, or {} if there is none; raise what `compare` raises."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        results = {name: list(found) for name, found in content["results"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} cannot be read as results ({reason(error)}): move it away"
        raise DataError(message) from error
    require(content["instance"] == instance, f"{path} is of other instances: move it away")
    return results
