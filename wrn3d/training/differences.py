"""What differs between the settings of a checkpoint and those of a run."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from wrn3d.system.errors import quoted
from wrn3d.training.config import LENGTH_FIELDS, TrainingConfig


def differing_settings(
    before: Mapping[str, Any], config: TrainingConfig, names: Iterable[str]
) -> dict[str, str]:
    """Return {name: "name was ... and is ..."} of the settings that differ, of those named.

    `before` is a checkpoint's config. A setting that it lacks, as it comes from an earlier version,
    had the default; the length was any.
    """
    defaults = {one.name: one.default for one in fields(config)}
    length = {name: getattr(config, name) for name in LENGTH_FIELDS}
    known = defaults | length | dict(before)
    return {
        name: f"{name} was {quoted(known[name])} and is {value!r}"
        for name in names
        if _as_json(known[name]) != _as_json(value := getattr(config, name))
    }


def _as_json(value: Any) -> Any:
    """Convert a tuple to a list and a path to text, as in a checkpoint's JSON header."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
