"""A trial of Ray Tune: one run, trained some iterations at a time."""

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune

from wrn3d.population.lineage import CHANGEABLE, Lineage, Segment, checked_settings
from wrn3d.system.checks import check_count
from wrn3d.system.errors import UsageError
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.config import TrainingConfig
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.front_ends import environment_class

PATHS = ("dataset", "data_dir", "init", "recipe")
STATE, LINEAGE = "checkpoint.safetensors", "lineage.json"  # in the folder of a trial's checkpoint


class Trainable(tune.Trainable):
    """One run as a trial. Its `config` has CNNEnv's keywords, and may have two more.

        tuner = tune.Tuner(
            tune.with_resources(wrn3d.tune.Trainable, {"cpu": 1}),
            param_space={"dataset": "digits", "learning_rate": tune.loguniform(0.01, 0.5), ...},
            ...
        )

    `front_end` is "tensorlayer" (the default) or "keras"; `iterations_per_step` are those of one
    `step`, by default 100. A step reports `loss` and `accuracy` of the validation split, or of the
    test split if there is none, and `training_loss`. Relative paths start from the folder that the
    worker started in, on one machine the driver's. TensorFlow uses as many threads as the trial has
    cores.

    A scheduler may change learning_rate, momentum, weight_decay and dropout without a new graph,
    unless they are 0, or the learning rate has a schedule; for other settings Ray makes a new
    trial object. A checkpoint has the run's whole state and, as lineage.json, how it came to be,
    for `wrn3d.replay`.

    Raises UsageError for settings that CNNEnv refuses.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.given = dict(config)  # Ray replaces `config` before it calls `reset_config`
        self._limit_threads()
        settings = dict(config)
        make = environment_class(settings.pop("front_end", "tensorlayer"))
        self.count = check_count("iterations_per_step", settings.pop("iterations_per_step", 100))
        start = Path(os.environ.get("TUNE_ORIG_WORKING_DIR", ""))
        for name in PATHS:
            beside = start / str(settings.get(name, ""))
            if name in settings and beside.exists():
                settings[name] = str(beside.resolve())
        self.env: TrainingEnvironment = make(**settings)
        self.split = "validation" if len(self.env.dataset.validation_labels) else "test"
        if self.split == "test":
            warnings.warn(
                f"{self.env.dataset.title} has no validation split, so the trial reports scores of "
                "the test split: set validation, to choose by other images than you report",
                stacklevel=2,
            )
        self._begin_lineage()

    def step(self) -> dict[str, float]:
        results = [self.env.step() for _ in range(self.count)]
        scores = self.env.evaluate(self.split).by_name
        mean = sum(result.loss for result in results) / len(results)
        return {**scores, "training_loss": mean, "iterations": self.env.iteration}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self.env.save(Path(checkpoint_dir, STATE))
        replace(self.lineage, iterations=self.env.iteration).save(Path(checkpoint_dir, LINEAGE))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Continue from a checkpoint, also of another trial, with this trial's settings."""
        folder = Path(checkpoint)
        self.env.restore(Checkpoint.load(folder / STATE))
        lineage, settings = Lineage.load(folder / LINEAGE), self._changeable(self.env.config)
        self.lineage = lineage.then(self.env.iteration, settings)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over changed settings; return False if that needs a new environment."""
        names = new_config.keys() | self.given.keys()
        changes = {
            name: new_config.get(name)
            for name in names
            if new_config.get(name) != self.given.get(name)
        }
        config = self.env.config
        has_schedule = config.schedule != "constant" or config.warmup > 0
        if changes.keys() - {*CHANGEABLE} or (has_schedule and "learning_rate" in changes):
            return False
        try:
            checked = checked_settings(changes, config)
        except UsageError:
            return False
        self.env.config = replace(config, **checked)
        self.env.reset()
        self._begin_lineage()
        self.given = dict(new_config)
        return True

    def _limit_threads(self) -> None:
        """Let TensorFlow, which is not imported yet, use as many threads as the trial has cores."""
        resources = self.trial_resources  # a text outside of Tune
        cores = getattr(resources, "required_resources", {}).get("CPU")
        if cores:
            for kind in ("INTRA", "INTER"):
                os.environ[f"TF_NUM_{kind}OP_THREADS"] = str(max(1, int(cores)))

    def _begin_lineage(self) -> None:
        self.lineage = Lineage((Segment(0, self._changeable(self.env.config)),), 0)

    def _changeable(self, config: TrainingConfig) -> dict[str, float]:
        """Return the settings that `step` would take; a schedule decides on the rate itself."""
        has_schedule = config.schedule != "constant" or config.warmup > 0
        names = [name for name in CHANGEABLE if name != "learning_rate" or not has_schedule]
        return {name: getattr(config, name) for name in names if getattr(config, name)}
