"""Where a run starts: at its beginning, or from its newest whole checkpoint."""

from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, quoted
from wrn3d.runs.config import overridable
from wrn3d.training.config import LENGTH_FIELDS


def starting_point(config, folder):
    """(the newest whole checkpoint of the run that `config` resumes or None, what is to be said).

    Raises UsageError where the settings differ from the checkpoint's in what decides the result,
    but for the fields in `override`, and DataError where there are checkpoints, but none is whole.
    """
    if not folder or not config.resume:
        return None, []
    checkpoint, said = folder.newest()
    if checkpoint is None and said:  # to begin anew would take away what may still be saved
        raise DataError(
            f"none of the {len(said)} checkpoints in {folder.path} can be read ("
            f"{said[0].removeprefix('skipped: ')}): name another folder with --output"
        )
    if checkpoint is None:
        return None, [f"started   {folder.path}, where no checkpoint was to go on from"]
    differing = {
        name: f"{name} was {quoted(was[name])} and is {value!r}"
        for was in [_settings_of(checkpoint, config)]
        for name in config.result_fields
        if _listed(was[name]) != _listed(value := getattr(config, name))
    }
    fixed = [text for name, text in differing.items() if name not in overridable()]
    require(
        not fixed,
        f"the run in {folder.path} cannot go on with another network or optimizer: "
        f"{', '.join(fixed)}; go on with its own, or name another folder with --output",
    )
    others = [name for name in differing if name not in config.override]
    require(
        not others,
        f"the run in {folder.path} has other settings: "
        f"{', '.join(differing[name] for name in others)}; go on with those that it had, or "
        f"add --override {' '.join([*config.override, *others])}",
    )
    return checkpoint, [*said, f"resumed   {folder.path} after iteration {checkpoint.iteration}"]


def _settings_of(checkpoint, config):
    """Of a checkpoint from before there was a setting, what was done then; its length, where that
    did not matter, is any."""
    length = {name: getattr(config, name) for name in LENGTH_FIELDS}
    return config.defaults | length | checkpoint.config


def _listed(value):
    """As JSON, in which a checkpoint has its settings, gives it back."""
    return list(value) if isinstance(value, tuple) else value
