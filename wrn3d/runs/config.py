"""The settings of a run that keeps a folder, and which of them decide its result."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from wrn3d.system.checks import check_choice, check_count, require
from wrn3d.training.config import DATA, LENGTH_FIELDS, TrainingConfig, setting

ON_NAN = ("stop", "restore")
# A run's result does not depend on these; it depends on all others.
WITHOUT_EFFECT = ("data_dir", "evaluate", "mirror", "output", "resume", "override")
# A resumed run cannot change these, even with --override: weights and momentum would not fit.
FIXED = ("depth", "widen_factor", "shortcut", "strides", "optimizer")


@dataclass(frozen=True)
class RunConfig(TrainingConfig):
    """A run's settings, and what is kept of it."""

    output: Path | None = None
    """Folder for the run's logs and checkpoints; without it none are kept."""
    save_every: int = setting(100, check_count)
    """Iterations from one checkpoint to the next; the last three are kept, and the best."""
    resume: bool = False
    """Continue the run in --output from its newest undamaged checkpoint."""
    override: tuple[str, ...] = ()
    """Settings that may differ from those of the resumed run, such as batch_size."""
    on_nan: str = setting("stop", check_choice, ON_NAN)
    """When the loss becomes NaN or infinite: stop, or restore the last regular checkpoint and
    continue with half the learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.output or not (self.resume or self.override or self.on_nan == "restore"),
            "resume, override and on_nan need the folder of the run: name it with --output",
        )
        override = tuple(name.replace("-", "_") for name in self.override)
        for name in override:
            require(
                name in overridable(),
                f"override has {name!r}, but can have {', '.join(overridable())}",
            )
        object.__setattr__(self, "override", override)

    @property
    def defaults(self) -> dict[str, Any]:
        """Default of each setting, for checkpoints older than the setting."""
        return {one.name: one.default for one in fields(self)}

    @property
    def result_fields(self) -> tuple[str, ...]:
        """The settings that decide this run's result.

        The length is one of them where the run depends on how much of it has passed.
        """
        scheduled = self.schedule != "constant" or self.warmup or self.sizes
        return _deciding() + (LENGTH_FIELDS if scheduled else ())


def overridable() -> tuple[str, ...]:
    """Return what --override can name: the data, the length, and the settings not in FIXED."""
    return (DATA, *LENGTH_FIELDS, *(name for name in _deciding() if name not in FIXED))


def _deciding() -> tuple[str, ...]:
    names = (one.name for one in fields(RunConfig))
    return tuple(name for name in names if name not in (*WITHOUT_EFFECT, *LENGTH_FIELDS))
