"""Recipes: settings that belong together, by name or from a file."""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from wrn3d.network.spec import WideResNetSpec, check_spec
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, UsageError, quoted, reason
from wrn3d.system.files import require_file
from wrn3d.training.config import NETWORK_FIELDS, TrainingConfig

FILE_ENDING = ".toml"
LARGEST_FILE = 2**16  # bytes

ORIGINAL = "original"
RECIPES = {
    # The original scripts' own.
    ORIGINAL: TrainingConfig(),
    # Wide Residual Networks, section 3: WRN-28-10 in 200 epochs (add --dropout 0.3 for table 6's).
    "paper": TrainingConfig(
        depth=28,
        widen_factor=10,
        shortcut="projection",
        batch_size=128,
        epochs=200,
        learning_rate=0.1,
        schedule="steps",
        milestones=(0.3, 0.6, 0.8),
        milestone_factor=0.2,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        augment=True,
        evaluate=True,
    ),
    # CIFAR-10 with little computation (docs/results.md).
    "fast": TrainingConfig(
        depth=16,
        widen_factor=4,
        shortcut="projection",
        batch_size=128,
        shards=2,
        batch_norm="local",
        epochs=19,
        optimizer="muon",
        learning_rate=0.08,
        schedule="linear",
        warmup=0.2,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
        label_smoothing=0.1,
        averaging=0.998,
        precision="bfloat16",
        augment=True,
        crop_padding=2,
        alternate_flips=True,
        cutout=8,
        sizes=(0.75, 0.75, 1.0),
        evaluate=True,
        mirror=True,
    ),
    # Small sets of volumes, tuned on AdrenalMNIST3D; --dataset names the file.
    "volumes": TrainingConfig(
        dataset="volumes.npz",
        volume_size=48,
        best_by="auc",
        depth=16,
        widen_factor=1,
        dropout=0.3,
        shortcut="projection",
        strides=(2, 2, 2),
        batch_size=32,
        epochs=40,
        optimizer="muon",
        learning_rate=0.05,
        schedule="linear",
        warmup=0.2,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
        label_smoothing=0.1,
        averaging=0.998,
        precision="bfloat16",
        augment=True,
        crop_padding=6,
        flip_axes=("depth", "height", "width"),
        evaluate=True,
        mirror=True,
    ),
}


def find_recipe(name: str) -> TrainingConfig:
    """Return the recipe of this name, or the settings in the .toml file at this path.

    The file has a line such as `depth = 16` for each setting. Settings that it leaves out are those
    of "original".

    Raises UsageError for an unknown name or for invalid settings, MissingDataError or DataError for
    a file that cannot be read.
    """
    if not str(name).endswith(FILE_ENDING):
        require(
            isinstance(name, str) and name in RECIPES,
            f"recipe is {quoted(name)}, but must be {', '.join(RECIPES)} or "
            f"the path of a {FILE_ENDING} file",
        )
        return RECIPES[name]
    settings = _read_settings(Path(name))
    require("recipe" not in settings, f"{name}: a recipe cannot build on another recipe")
    try:
        return configuration(None, settings)
    except (UsageError, TypeError) as error:
        raise UsageError(f"{name}: {reason(error)}") from error


def _read_settings(path: Path) -> dict[str, Any]:
    require_file(path, "name a file of settings")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE:,} bytes")
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as a recipe ({reason(error)})") from error
    return {
        key.replace("-", "_"): tuple(value) if isinstance(value, list) else value
        for key, value in settings.items()
    }


def recipe_settings(name: str, given: Collection[str] = ()) -> dict[str, Any]:
    """Return a recipe's settings as keywords.

    `given` names the settings that the caller will override: if it has iterations, the recipe's
    epochs are dropped. Raises what `find_recipe` raises.
    """
    recipe = find_recipe(name)
    if "iterations" in given and "epochs" not in given:
        recipe = replace(recipe, epochs=None)
    return recipe.settings


def configuration(spec: WideResNetSpec | None, settings: Mapping[str, Any]) -> TrainingConfig:
    """Return CNNEnv's keywords as a TrainingConfig.

    The settings of `recipe`, if it is among the keywords, are the defaults of the others. `spec`
    replaces the network's settings.

    Raises TypeError, as Python does, for an unknown keyword, and UsageError for invalid values.
    """
    names = [field.name for field in fields(TrainingConfig)]
    for name in settings:
        if name not in (*names, "recipe"):
            close = "".join(f" (did you mean {one}?)" for one in get_close_matches(name, names, 1))
            raise TypeError(
                f"{quoted(name)} is not a setting{close}: the settings are {', '.join(names)}"
            )
    given = {name: value for name, value in settings.items() if name != "recipe"}
    if spec is not None:
        check_spec(spec)
        both = [name for name in NETWORK_FIELDS if name in settings]
        require(not both, f"spec describes the network already: leave out {', '.join(both)}")
        given |= {name: getattr(spec, name) for name in NETWORK_FIELDS}
    return TrainingConfig(**recipe_settings(settings.get("recipe", ORIGINAL), given) | given)
