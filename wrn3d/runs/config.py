"""The settings of a run, and the names of those that decide its result."""

from dataclasses import dataclass, fields
from pathlib import Path

from wrn3d.system.checks import check_choice, check_count, check_path, require
from wrn3d.training.config import (
    DATA,
    LENGTH_FIELDS,
    LOSS,
    METRICS,
    TrainingConfig,
    check_optional,
    setting,
)

ON_NAN = ("stop", "restore")
# A run's result does not depend on these; it depends on all others.
WITHOUT_EFFECT = ("data_dir", "evaluate", "mirror", "output", "resume", "override")
# A resumed run cannot change these, even with --override: weights and momentum would not fit.
FIXED = ("depth", "widen_factor", "shortcut", "strides", "optimizer", "freeze")


@dataclass(frozen=True)
class RunConfig(TrainingConfig):
    """The settings of a training run and of the files that it keeps."""

    output: Path | None = setting(None, check_optional, check_path)
    """Folder for the run's logs and checkpoints; without it the run keeps no files."""
    save_every: int = setting(100, check_count)
    """Iterations from one checkpoint to the next; the run keeps the last three and the best."""
    patience: int | None = setting(None, check_optional, check_count)
    """Stop early after this many evaluations (one every --save-every iterations) without a better
    validation score."""
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
                name in OVERRIDABLE,
                f"override has {name!r}, but can have {', '.join(OVERRIDABLE)}",
            )
        object.__setattr__(self, "override", override)

    @property
    def result_fields(self) -> tuple[str, ...]:
        """Names of the settings that decide this run's result.

        The length is among them if the learning rate or the size of the volumes depends on it.
        """
        return DECIDING + (LENGTH_FIELDS if self.has_schedule or self.sizes else ())


DECIDING = tuple(
    one.name for one in fields(RunConfig) if one.name not in (*WITHOUT_EFFECT, *LENGTH_FIELDS)
)
# --override can name the data, the own functions, the length, and the settings not in FIXED.
_ADJUSTABLE = tuple(name for name in DECIDING if name not in FIXED)
OVERRIDABLE = (DATA, LOSS, METRICS, *LENGTH_FIELDS, *_ADJUSTABLE)
