"""Write run.json (settings, machine, time), files.csv, test.json (results) and its pictures."""

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import wrn3d
from wrn3d.data.dataset import Dataset
from wrn3d.data.table import FILES, file_rows
from wrn3d.network.parameters import parameter_count
from wrn3d.runs.config import RunConfig
from wrn3d.runs.figures import run_name
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.mistakes import draw_confusion, draw_mistakes
from wrn3d.system import machine, tensorflow_setup
from wrn3d.system.errors import reason
from wrn3d.system.files import write_atomic
from wrn3d.system.reporting import write_table
from wrn3d.training.config import DATA
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.evaluation import EvalResult, Predictions

RUN = "run.json"


def record_start(folder: Path, environment: TrainingEnvironment, config: RunConfig) -> None:
    """Write run.json, to which a resumed run adds this start.

    If the data are files, also write files.csv, a table of each split's files. Warns if one of them
    cannot be written.
    """
    started: list[dict[str, Any]] = []
    with suppress(KeyError, TypeError):  # damaged
        started = list(read_json(folder / RUN)["started"])
    start = {
        "at": _now(),
        "iteration": environment.iteration,
        "front_end": environment.front_end,
        "command": sys.argv,
    }
    spec, dataset = environment.spec, environment.dataset
    content = {
        "version": wrn3d.__version__,
        "started": [*started, start],
        "settings": asdict(config),
        "network": {
            "name": spec.name,
            "parameters": parameter_count(spec),
            "input_shape": spec.input_shape,
        },
        "data": {
            "title": dataset.title,
            "origin": dataset.origin,
            DATA: environment.fingerprint,
            "classes": dataset.class_names,
            "training": len(dataset.train_labels),
            "validation": len(dataset.validation_labels),
            "test": len(dataset.test_labels),
        },
        "device": tensorflow_setup.device(),
        "machine": machine.describe(),
    }
    _warn_if_fails(_write_json, folder / RUN, content)
    if dataset.listings:
        _warn_if_fails(write_table, folder / FILES, file_rows(dataset))


def record_end(folder: RunFolder, iterations: int) -> None:
    """Add the end of the training and its time to run.json. Warn if it cannot be written.

    `seconds` are the sum of the iterations'; one that was trained again after a kill counts once.
    `undisturbed_seconds` count each iteration with the tenth percentile of those at its image size,
    since other programs may slow some of them down. All times are left out if a part of the run was
    trained by a version that did not log them.
    """
    _warn_if_fails(_record_end, folder, iterations)


def _record_end(folder: RunFolder, iterations: int) -> None:
    by_size: dict[float, list[float]] = {}
    for _, size, seconds in folder.times.rows():
        by_size.setdefault(size, []).append(seconds)
    ended: dict[str, Any] = {"at": _now(), "iterations": iterations}
    if sum(map(len, by_size.values())) == iterations:
        quick = {size: float(np.percentile(times, 10)) for size, times in by_size.items()}
        ended |= {
            "seconds": sum(map(sum, by_size.values())),
            "undisturbed_seconds": sum(quick[size] * len(times) for size, times in by_size.items()),
            "iterations_by_size": {f"{size:g}": len(times) for size, times in by_size.items()},
            "tenth_percentile_seconds": {f"{size:g}": seconds for size, seconds in quick.items()},
        }
    path = folder.path / RUN
    _write_json(path, read_json(path) | {"ended": ended})


def record_test(
    folder: Path,
    dataset: Dataset,
    iterations: Mapping[str, int],
    results: Mapping[str, EvalResult],
    predictions: Mapping[str, Predictions],
    matrix: np.ndarray,
) -> None:
    """Write test.json, confusion.png and mistakes.png. Warn about those that cannot be written.

    `iterations` are those of the last checkpoint, "iteration", and of the best if it is another,
    "best_iteration". `results` and `predictions` have the same names, those of `ways_to_measure`,
    after BEST_PREFIX for the best checkpoint. `matrix` is the confusion matrix of "test".
    """
    names = dataset.class_names
    content = {
        "at": _now(),
        **iterations,
        **{
            name: {"count": len(predictions[name].labels), **result.as_json}
            for name, result in results.items()
        },
        "classes": names,
        "confusion": matrix.tolist(),
    }
    _warn_if_fails(_write_json, folder / "test.json", content)
    title = f"{run_name(folder)}, test split"
    _warn_if_fails(draw_confusion, matrix, names, folder / "confusion.png", title)
    mistakes = folder / "mistakes.png"
    drawn = dataset.test_volumes, predictions["test"], names, mistakes, title
    _warn_if_fails(draw_mistakes, *drawn, dataset.spacing is not None)


def _warn_if_fails(write: Callable[..., None], *arguments: Any) -> None:
    try:
        write(*arguments)
    except Exception as error:  # matplotlib may raise anything; the run must go on
        warnings.warn(reason(error), stacklevel=3)


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds, or nothing if it is missing or damaged."""
    with suppress(OSError, ValueError, TypeError, RecursionError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(content, indent=2, default=str) + "\n").encode())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
