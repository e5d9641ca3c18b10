"""A trial of Ray Tune: one run, trained some iterations at a time."""

import os
import warnings
from pathlib import Path
from typing import Any

from ray import tune

from wrn3d.data.load import NAMES
from wrn3d.population.lineage import (
    CHANGEABLE,
    RATE,
    Lineage,
    Segment,
    check_same_run,
    checked_settings,
)
from wrn3d.system.checks import check_count, require
from wrn3d.system.errors import UsageError
from wrn3d.training import shipped
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.front_ends import environment_class

STATE, LINEAGE = "checkpoint.safetensors", "lineage.json"  # in the folder of a trial's checkpoint


class Trainable(tune.Trainable):
    """One run as a trial. Its `config` has CNNEnv's keywords, and may have two more.

        tuner = tune.Tuner(
            tune.with_resources(wrn3d.tune.Trainable, {"cpu": 1}),
            param_space={"dataset": "digits", "learning_rate": tune.loguniform(0.01, 0.5), ...},
            ...
        )

    `front_end` is "tensorlayer" (the default) or "keras"; `iterations_per_step` are those of one
    `step`, by default 100. A step reports the scores of the validation split, `loss`, `accuracy`
    and others, or of the test split if there is none, and `training_loss` and `iterations`.
    Relative paths start from the folder that Ray's worker started in. TensorFlow uses as many
    threads as the trial has cores.

    A scheduler may change learning_rate, momentum, weight_decay and dropout without a new graph,
    unless they are 0. A checkpoint has the run's whole state and, as lineage.json, how it came to
    be, for `wrn3d.replay`. A trial takes over another's checkpoint if all other settings are the
    same.

    Raises UsageError for settings that CNNEnv refuses, and for less than one core.
    """

    lineage: Lineage

    def setup(self, config: dict[str, Any]) -> None:
        self._limit_threads()
        self.given = dict(config)  # Ray replaces `config` before it calls `reset_config`
        settings = dict(config)
        make = environment_class(settings.pop("front_end", "tensorlayer"))
        self.count = check_count("iterations_per_step", settings.pop("iterations_per_step", 100))
        self.env: TrainingEnvironment = make(**_absolute(settings))
        labels = self.env.dataset.validation_labels, self.env.dataset.test_labels
        require(
            any(map(len, labels)),
            f"{self.env.dataset.title} has neither a validation nor a test split to report scores "
            "of: set validation",
        )
        self.split = "validation" if len(labels[0]) else "test"
        if self.split == "test":
            warnings.warn(
                f"{self.env.dataset.title} has no validation split, so the trial reports scores of "
                "the test split: set validation, to choose by other images than you report",
                stacklevel=2,
            )
        self._begin(config)

    def step(self) -> dict[str, float]:
        settings = self.lineage.segments[-1].settings
        results = [self.env.step(**settings) for _ in range(self.count)]
        scores = self.env.evaluate(self.split).by_name
        mean = sum(result.loss for result in results) / len(results)
        return {**scores, "training_loss": mean, "iterations": self.env.iteration}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self.env.save(Path(checkpoint_dir, STATE))
        lineage = Lineage(self.lineage.segments, self.env.iteration, self.lineage.seed)
        lineage.save(Path(checkpoint_dir, LINEAGE))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Continue from a checkpoint, also of another trial, with this trial's settings.

        Raises UsageError if it comes from a run with other settings than those that may change.
        """
        state = Checkpoint.load(Path(checkpoint, STATE))
        check_same_run(state, self.env, "the checkpoint")
        self.env.restore(state)
        settings = self.lineage.segments[-1].settings
        self.lineage = Lineage.load(Path(checkpoint, LINEAGE)).then(self.env.iteration, settings)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial; its environment is made anew only if a graph needs that."""
        names = new_config.keys() | self.given.keys()
        changes = {name for name in names if new_config.get(name) != self.given.get(name)}
        try:
            checked_settings({name: new_config.get(name) for name in changes}, self.env.config)
            is_possible = not (self.env.config.has_schedule and RATE in changes)
        except UsageError:
            is_possible = False
        if is_possible:
            self.given = dict(new_config)
            self.env.reset()
            self._begin(new_config)
        else:
            self.setup(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        """Begin a lineage with those of the settings that a step takes."""
        names = [name for name in CHANGEABLE if config.get(name)]
        if self.env.config.has_schedule:
            names = [name for name in names if name != RATE]  # the schedule's highest
        chosen = {name: config[name] for name in names}
        self.lineage = Lineage((Segment(0, chosen),), 0, self.env.config.seed)

    def _limit_threads(self) -> None:
        """Let TensorFlow, which reads this at its first op, use as many threads as there are cores.

        These are the trial's own; outside of Tune there is no limit.
        """
        cores = getattr(self.trial_resources, "head_cpus", None)
        if cores is not None:
            require(
                cores >= 1,
                f"a trial has {cores:g} cores, so that more trials than cores may run at once: "
                'give each at least one, as tune.with_resources(Trainable, {"cpu": 1})',
            )
            for kind in ("INTRA", "INTER"):
                os.environ[f"TF_NUM_{kind}OP_THREADS"] = str(int(cores))


def _absolute(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with paths that start from the worker's first folder, not the trial's."""
    start = Path(os.environ.get("TUNE_ORIG_WORKING_DIR", "")).resolve()
    paths = {"data_dir": settings.get("data_dir", "data")}
    if settings.get("dataset") not in (None, *NAMES):
        paths["dataset"] = settings["dataset"]
    if settings.get("init") and str(settings["init"]) not in shipped.names():
        paths["init"] = settings["init"]
    if str(settings.get("recipe", "")).endswith(".toml"):
        paths["recipe"] = settings["recipe"]
    return settings | {name: str(start / str(path)) for name, path in paths.items()}
