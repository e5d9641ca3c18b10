"""Read what finished runs kept in docs/results/."""

import json
import shlex
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any


class Run:
    """A finished run: the contents of its run.json and test.json, and what follows from them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.start: dict[str, Any] = json.loads((folder / "run.json").read_text())
        self.test: dict[str, Any] = json.loads((folder / "test.json").read_text())
        self.settings: dict[str, Any] = self.start["settings"]
        self.seed: int = self.settings["seed"]
        self.front_end: str = self.start["started"][-1]["front_end"]
        self.data: dict[str, Any] = self.start["data"]

    @property
    def command(self) -> str:
        """The command line that started the run, with the data file's name alone."""
        script, *flags = self.start["started"][0]["command"]
        flags = [flag.replace(self.settings["dataset"], self.dataset) for flag in flags]
        return shlex.join([".venv/bin/python", Path(script).name, *flags])

    @property
    def dataset(self) -> str:
        """The name of the data set, or of its file without the folder."""
        return Path(self.settings["dataset"]).name

    @property
    def has_images(self) -> bool:
        """Whether it trained on images, which are volumes of depth 1."""
        return bool(self.start["network"]["input_shape"][0] == 1)

    @property
    def seconds(self) -> float:
        """The wall clock from the start of the training to the end of the evaluation.

        For a run that was stopped and resumed, it is the sum of its iterations' seconds.
        """
        if len(self.start["started"]) > 1:
            return float(self.start["ended"]["seconds"])
        first, last = self.start["started"][0]["at"], self.test["at"]
        return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()

    @property
    def undisturbed_seconds(self) -> float:
        """Iterations times the tenth percentile of an iteration's time, at each image size."""
        return float(self.start["ended"]["undisturbed_seconds"])

    @cached_property
    def validation(self) -> dict[str, float]:
        """The last scores on the validation split by name; empty if the run had none."""
        path = self.folder / "validation.csv"
        if not path.exists():
            return {}
        names, *_, last = (line.split(",") for line in path.read_text().splitlines())
        return {name: float(number) for name, number in zip(names, last, strict=True)}

    @property
    def machine(self) -> str:
        versions = self.start["machine"]["versions"]
        names = ("tensorflow-cpu", "tensorflow", "tensorlayer", "keras", "numpy")
        software = ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
        return f"{self.start['device']}; {software}"


def read_runs(folder: Path) -> list[Run]:
    """Return the finished runs in the folders of `folder`, by their names."""
    found = [path.parent for path in folder.glob("*/test.json")]
    return [Run(path) for path in sorted(found)]


def as_time(seconds: float) -> str:
    """Return a time such as "52 min" or "1 h 3 min"."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
