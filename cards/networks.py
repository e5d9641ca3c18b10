"""The networks that ship: which run each of them comes from, and its file in weights/."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cards.runs import Run
from wrn3d.system.errors import MissingDataError
from wrn3d.training.checkpoint import Checkpoint, slim
from wrn3d.training.config import (
    CLASSES,
    DATA,
    NETWORK_FIELDS,
    RESIZING,
    SPACING,
    TITLE,
    VOXELS,
    WINDOW,
)

# What `python -m wrn3d.predict`, `evaluate` and `convert` read of a checkpoint's settings.
SETTINGS = (
    *NETWORK_FIELDS,
    CLASSES,
    RESIZING,
    VOXELS,
    SPACING,
    WINDOW,
    DATA,
    TITLE,
    "dataset",
    "class_names",
    "volume_size",
    "flip_axes",
    "validation",
)


@dataclass(frozen=True)
class ShippedNetwork:
    """A network of networks.toml: the start of its runs' names, and texts for its card."""

    name: str
    runs: str
    title: str
    data: str
    purpose: str
    limits: str

    def own(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs from which the network is chosen."""
        return [run for run in runs if run.name.startswith(self.runs)]

    def chosen(self, runs: Sequence[Run]) -> Run | None:
        """Return the run that ships, or None if it has none.

        That is the best on the validation split by its `best_by`; without one, the best on the test
        split.
        """

        def score(run: Run) -> float:
            by = run.settings["best_by"]
            return run.validation[by] if run.validation else run.test["test"][by]

        return max(self.own(runs), key=score, default=None)


def read_networks() -> list[ShippedNetwork]:
    """Return the networks of networks.toml."""
    text = Path(__file__).with_name("networks.toml").read_text(encoding="utf-8")
    return [
        ShippedNetwork(name, **{key: value.strip() for key, value in entry.items()})
        for name, entry in tomllib.loads(text).items()
    ]


def write_weights(run: Run, folder: Path, target: Path) -> None:
    """Write a run's network in the shipped form; `folder` has the run's checkpoint.

    It computes in float32 on every machine. Raises MissingDataError if the checkpoint is missing.
    """
    iteration = run.test["iteration"]
    path = folder / f"checkpoint-{iteration:08}.safetensors"
    if not path.exists():
        raise MissingDataError(f"{path} does not exist: name the folder of the runs with --runs")
    checkpoint = Checkpoint.load(path)
    config = checkpoint.config  # of an earlier version, it lacks some
    settings = {name: config[name] for name in SETTINGS if name in config}
    settings |= {"dataset": run.dataset, "precision": "float32"}
    slim(checkpoint, settings).save(target)
