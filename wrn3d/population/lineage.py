"""The settings with which a member of a population was trained, as a schedule to replay."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wrn3d.system.checks import check_count, check_number, check_path, require
from wrn3d.system.errors import DataError, quoted, reason
from wrn3d.system.files import require_file, write_atomic
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.config import DATA, LENGTH_FIELDS, TrainingConfig
from wrn3d.training.differences import differing_settings
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.own_functions import differing
from wrn3d.training.step import ADJUSTABLE, StepResult, adjusted_settings

RATE = "learning_rate"
CHANGEABLE = (RATE, *ADJUSTABLE)  # the settings that `step` takes
# Settings that may differ between a member and an environment: those that a member changes, the
# seed, which is part of its state, and what has no effect on an iteration.
FREE = (*CHANGEABLE, "seed", "dataset", "data_dir", "init", "evaluate", "mirror", "best_by")


def checked_settings(settings: Mapping[str, Any], config: TrainingConfig) -> dict[str, Any]:
    """Return settings for `step`; raise UsageError for those that a run cannot change."""
    for name in settings:
        require(
            name in CHANGEABLE,
            f"{quoted(name)} cannot change during a run: choose from {', '.join(CHANGEABLE)}",
        )
    others = {name: value for name, value in settings.items() if name != RATE}
    checked = adjusted_settings(config, others)
    rate = {RATE: check_number(RATE, settings[RATE])} if RATE in settings else {}
    return rate | {name: checked[name] for name in others}


def check_environment(env: object) -> None:
    """Raise UsageError unless `env` is a CNNEnv of either front end."""
    require(isinstance(env, TrainingEnvironment), f"env is {quoted(env)}, but must be a CNNEnv")


def check_same_run(state: Checkpoint, env: TrainingEnvironment, of: str) -> None:
    """Raise UsageError if a state comes from other data, settings or functions than an environment.

    `of` says whose state it is.
    """
    config = env.config
    require(
        state.config.get(DATA) == env.fingerprint,
        f"{of} comes from other data than {env.dataset.title}: use an environment with its data",
    )
    free = {*FREE, *LENGTH_FIELDS}
    if config.has_schedule:
        free -= {RATE, *LENGTH_FIELDS}
    if config.sizes:
        free -= {*LENGTH_FIELDS}
    names = [one.name for one in fields(TrainingConfig) if one.name not in free]
    others = differing_settings(state.config, config, names)
    require(
        not others,
        f"{of} comes from a run with other settings: {', '.join(others.values())}; use an "
        "environment with its own",
    )
    own = list(differing(state.config, env.functions.names))
    require(not own, f"{of} comes from a run with another own {' and '.join(own)}: use its own")


@dataclass(frozen=True)
class Segment:
    """The settings from the iteration after `after` on."""

    after: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Lineage:
    """The settings of a run's iterations up to `iterations`, in one segment or several.

    Settings that a segment does not name are the run's own, such as its schedule's learning rate.
    `seed` decided its batches.
    """

    segments: tuple[Segment, ...]
    iterations: int
    seed: int = 0

    @property
    def after(self) -> int:
        """The iterations before the first segment."""
        return self.segments[0].after

    def settings_after(self, iteration: int) -> dict[str, Any]:
        """Return the keywords of `step` for the iteration after `iteration`."""
        return next(one.settings for one in reversed(self.segments) if one.after <= iteration)

    def then(self, iteration: int, settings: Mapping[str, Any]) -> "Lineage":
        """Return this lineage until `iteration`, with these settings for what follows."""
        before = tuple(one for one in self.segments if one.after < iteration)
        if not before or before[-1].settings != settings:
            before = (*before, Segment(iteration, dict(settings)))
        return Lineage(before, iteration, self.seed)

    def save(self, path: str | Path) -> None:
        """Write the lineage as JSON; raises what `atomic_file` raises."""
        write_atomic(path, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> "Lineage":
        """Read what `save` wrote; raise MissingDataError or DataError if it cannot be read."""
        path = check_path("path", path)
        require_file(path, "name a lineage that Lineage.save wrote")
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path} cannot be read as a lineage ({reason(error)})") from error

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Lineage":
        """Return the lineage in JSON's terms; raise UsageError, KeyError or TypeError."""
        segments = tuple(
            Segment(check_count("after", one["after"], least=0), dict(one["settings"]))
            for one in content["segments"]
        )
        places = [one.after for one in segments]
        iterations = check_count("iterations", content["iterations"], least=0)
        in_order = places and places == sorted(set(places)) and places[-1] <= iterations
        require(in_order, "its segments are not in order")
        return cls(segments, iterations, check_count("seed", content["seed"], least=0))


def replay(env: TrainingEnvironment, lineage: Lineage | str | Path) -> list[StepResult]:
    """Train a lineage, or the one in a file, as one run, and return each iteration's result.

        wrn3d.replay(CNNEnv(dataset="digits", ...), "best.json")

    Give it an environment of either front end with the population's settings, at the iteration
    where the population began, usually 0. It ends with the member's weights, to the last bit.

    Raises UsageError if it has another seed, is elsewhere, or cannot change one of the settings.
    """
    check_environment(env)
    lineage = lineage if isinstance(lineage, Lineage) else Lineage.load(lineage)
    require(
        env.iteration == lineage.after and env.config.seed == lineage.seed,
        f"the environment is at iteration {env.iteration} of a run with seed {env.config.seed}, "
        f"but the lineage begins after iteration {lineage.after} with seed {lineage.seed}: make "
        "another CNNEnv",
    )
    for segment in lineage.segments:
        checked_settings(segment.settings, env.config)
    return [
        env.step(**lineage.settings_after(done))
        for done in range(env.iteration, lineage.iterations)
    ]
