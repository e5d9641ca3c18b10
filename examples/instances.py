"""Published instances, on which controllers of the learning rate are compared.

An instance is a data set, a network and a seed. A controller is a function that gets a `Run` at its
start and leaves it in the state that it would use. It may train BUDGET iterations in all, in
whatever members and trials, and choose by the validation split. The test split is the judge.
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

BUDGET, SEEDS = 2400, range(5)
MEMBERS, LENGTH = 8, BUDGET // 8  # networks of a search, and iterations of each
ROUND = 30  # iterations between measurements
RATES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SETTINGS = {
    "widen_factor": 1,
    "batch_size": 32,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "augment": True,
}
CIFAR = "cifar10-5000.npz"
INSTANCES = {
    "digits": SETTINGS
    | {"dataset": "digits", "volume_size": 16, "validation": 300, "flip_axes": (), "depth": 10},
    "cifar10": SETTINGS | {"dataset": CIFAR, "depth": 16},
}


class Run(CNNEnv):
    """A `CNNEnv` that trains BUDGET iterations and no more. `instance` has its settings."""

    def __init__(self, **instance):
        super().__init__(**instance)
        self.instance, self.left = instance, BUDGET

    def begin(self, seed):
        """Go back to the start, with another seed."""
        self.reset(seed=seed)
        self.left = BUDGET

    def spend(self, iterations):
        """Count iterations; raise UsageError if fewer are left."""
        require(iterations <= self.left, f"all of the {BUDGET} iterations are used")
        self.left -= iterations

    def step(self, *batch, **settings):
        self.spend(1)
        return super().step(*batch, **settings)


def best_constant(run):
    """Train a network with each of RATES; keep the best."""
    _keep_best(run, [lambda _, rate=rate: rate for rate in RATES])


def best_cosine(run):
    """Train a network with half a cosine from each of RATES; keep the best."""
    _keep_best(run, [lambda x, rate=rate: rate * (1 + cos(pi * x)) / 2 for rate in RATES])


def looking_ahead(run):
    """Look ahead as examples/look_ahead.py does, as long as the iterations last."""
    tried, cooling = len(look_ahead.RATES), look_ahead.COOLING
    last = tried * cooling  # which the last round does not train
    look_ahead.look_ahead(run, (run.left + last) // (tried * (look_ahead.ROUND + cooling)))


def _keep_best(run, schedules):
    """Train a network with each schedule of the progress from 0 to 1; keep the best."""
    start, results = run.snapshot(), []
    for rate in schedules:
        run.restore(start)
        for done in range(LENGTH):
            run.step(learning_rate=rate(done / LENGTH))
        results.append((run.evaluate("validation").accuracy, run.snapshot()))
    run.restore(max(results, key=lambda result: result[0])[1])


SCHEDULES = {
    "best constant rate": best_constant,
    "best cosine": best_cosine,
    "look ahead": looking_ahead,
}


@dataclass(frozen=True)
class Config:
    """The instances."""

    data: Annotated[str, tyro.conf.arg(metavar="{digits,cifar10}")] = "digits"
    """Data set."""


def compare(controllers, data):
    """Return the test accuracies of each controller, by name, for each of SEEDS.

    They are kept in controllers-DATA.json. What that file has is not computed again, so that an
    interrupted comparison goes on. Raises UsageError for a file of other instances.
    """
    check_choice("data", data, INSTANCES)
    if data == "cifar10" and not Path(CIFAR).exists():
        write_cifar()
    path = Path(f"controllers-{data}.json")
    about = json.loads(json.dumps({"iterations": BUDGET, **INSTANCES[data]}))
    content = {"instance": about, "test accuracy": {}}
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        require(content["instance"] == about, f"{path} is of other instances: move it away")
    accuracies, run = content["test accuracy"], Run(**INSTANCES[data])
    for seed in SEEDS:
        for name, controller in controllers.items():
            if len(accuracies.setdefault(name, [])) == seed:
                run.begin(seed)
                controller(run)
                accuracies[name].append(run.evaluate().accuracy)
                print(f"{name}, {data}, seed {seed}: {accuracies[name][-1]:.4f}", flush=True)
                path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return {name: accuracies[name] for name in controllers}


def write_cifar():
    """Write 5,000 training images of CIFAR-10, 500 more for validation, and its test images."""
    data = wrn3d.load_dataset("cifar10")
    images, labels = data.train_volumes[:, 0], data.train_labels  # (N, H, W, C)
    np.savez(
        CIFAR,
        train_images=images[:5000],
        train_labels=labels[:5000],
        val_images=images[5000:5500],
        val_labels=labels[5000:5500],
        test_images=data.test_volumes[:, 0],
        test_labels=data.test_labels,
        class_names=data.class_names,
    )
