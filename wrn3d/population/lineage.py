"""The settings with which a member of a population was trained, as a schedule to replay."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wrn3d.system.checks import check_count, check_number, check_path, require
from wrn3d.system.errors import DataError, UsageError, quoted, reason
from wrn3d.system.files import require_file, write_atomic
from wrn3d.training.config import TrainingConfig
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.step import ADJUSTABLE, StepResult, adjusted_settings

RATE = "learning_rate"
CHANGEABLE = (RATE, *ADJUSTABLE)  # the settings that `step` takes


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


@dataclass(frozen=True)
class Segment:
    """The settings from the iteration after `after` on."""

    after: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Lineage:
    """The settings of a run's iterations `after` + 1 to `iterations`, in one segment or several.

    Settings that a segment does not name are the run's own, such as its schedule's learning rate.
    """

    segments: tuple[Segment, ...]
    iterations: int

    @property
    def after(self) -> int:
        """The iterations before the first segment."""
        return self.segments[0].after

    def settings_after(self, iteration: int) -> dict[str, Any]:
        """Return the keywords of `step` for the iteration after `iteration`."""
        return next(one.settings for one in reversed(self.segments) if one.after <= iteration)

    def then(self, iteration: int, settings: Mapping[str, Any]) -> "Lineage":
        """Return this lineage, cut after `iteration`, with these settings from there on."""
        if settings == self.segments[-1].settings:
            return Lineage(self.segments, iteration)
        before = [one for one in self.segments if one.after < iteration]
        return Lineage((*before, Segment(iteration, dict(settings))), iteration)

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
        if not places or places != sorted(set(places)) or places[-1] > iterations:
            raise UsageError("its segments are not in order")
        return cls(segments, iterations)


def replay(env: TrainingEnvironment, lineage: Lineage | str | Path) -> Iterator[StepResult]:
    """Train a lineage, or the one in a file, as one run, and yield each iteration's result.

        for result in replay(env, "member-3.json"):
            ...

    The environment, of either front end, has the settings of the population's and is where the
    population began, mostly at iteration 0. It ends with the member's weights, to the last bit.

    Raises UsageError if it is elsewhere or cannot change one of the settings.
    """
    lineage = lineage if isinstance(lineage, Lineage) else Lineage.load(lineage)
    require(
        env.iteration == lineage.after,
        f"the environment is at iteration {env.iteration}, but the lineage begins after iteration "
        f"{lineage.after}: call env.reset() or restore its beginning",
    )
    for segment in lineage.segments:
        checked_settings(segment.settings, env.config)
    while env.iteration < lineage.iterations:
        yield env.step(**lineage.settings_after(env.iteration))
