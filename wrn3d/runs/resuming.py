"""Find where a run starts: at its beginning, or at its newest readable checkpoint."""

from wrn3d.runs.config import OVERRIDABLE, RunConfig
from wrn3d.runs.folder import RunFolder
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.differences import differing_settings


def starting_point(
    config: RunConfig, folder: RunFolder | None
) -> tuple[Checkpoint | None, list[str]]:
    """Return the checkpoint to resume from, or None, and lines to print.

    Raises UsageError if settings that decide the result differ from the checkpoint's and `override`
    does not name them. Raises DataError if the folder has checkpoints but none is readable.
    """
    if not folder or not config.resume:
        return None, []
    checkpoint, skipped = folder.newest()
    if checkpoint is None and skipped:  # a new start would overwrite files worth rescuing
        raise DataError(
            f"no checkpoint in {folder.path} can be read ("
            f"{skipped[0].removeprefix('skipped: ')}): name another folder with --output"
        )
    if checkpoint is None:
        return None, [f"started   {folder.path}, which had no checkpoint to resume"]
    _check_settings(checkpoint, config, folder)
    resumed = f"resumed   {folder.path} after iteration {checkpoint.iteration}"
    return checkpoint, [*skipped, resumed]


def _check_settings(checkpoint: Checkpoint, config: RunConfig, folder: RunFolder) -> None:
    differing = differing_settings(checkpoint.config, config, config.result_fields)
    fixed = [text for name, text in differing.items() if name not in OVERRIDABLE]
    require(
        not fixed,
        f"the run in {folder.path} has another network or optimizer: {', '.join(fixed)}; use the "
        "run's own, or name another folder with --output",
    )
    others = [name for name in differing if name not in config.override]
    require(
        not others,
        f"the run in {folder.path} has other settings: "
        f"{', '.join(differing[name] for name in others)}; use the run's own, or add --override "
        f"{' '.join([*config.override, *others])}",
    )
