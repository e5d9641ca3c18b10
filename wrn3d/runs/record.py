"""Write run.json (settings, versions, machine) and test.json (results) with its pictures."""

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from wrn3d.network.parameters import parameter_count
from wrn3d.runs.config import RunConfig
from wrn3d.runs.figures import run_name
from wrn3d.runs.mistakes import draw_confusion, draw_mistakes
from wrn3d.system import machine, tensorflow_setup
from wrn3d.system.errors import reason
from wrn3d.system.files import write_atomic
from wrn3d.training.config import DATA
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.evaluation import EvalResult, Predictions

RUN = "run.json"


def record_start(folder: Path, environment: TrainingEnvironment, config: RunConfig) -> None:
    """Write run.json; a resumed run adds this start to it. Warn if it cannot be written."""
    path, started = folder / RUN, []
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):  # none, or damaged
        started = list(json.loads(path.read_text(encoding="utf-8"))["started"])
    start = {
        "at": _now(),
        "iteration": environment.iteration,
        "front_end": environment.front_end,
        "command": sys.argv,
    }
    spec, dataset = environment.spec, environment.dataset
    content = {
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
    _warn_if_fails(_write_json, path, content)


def record_test(
    folder: Path,
    environment: TrainingEnvironment,
    results: Mapping[str, EvalResult],
    predictions: Predictions,
    matrix: np.ndarray,
) -> None:
    """Write test.json, confusion.png and mistakes.png. Warn about those that cannot be written.

    `results` are {"test": ..., "mirrored": ...}. `predictions` are those without mirror images, and
    `matrix` is their confusion matrix.
    """
    dataset, names = environment.dataset, environment.dataset.class_names
    content = {
        "at": _now(),
        "iteration": environment.iteration,
        **{
            # JSON has neither NaN nor infinity.
            name: {
                score: number if isfinite(number) else None
                for score, number in result._asdict().items()
            }
            for name, result in results.items()
        },
        "classes": names,
        "confusion": matrix.tolist(),
    }
    _warn_if_fails(_write_json, folder / "test.json", content)
    title = f"{run_name(folder)}, test split"
    _warn_if_fails(draw_confusion, matrix, names, folder / "confusion.png", title)
    mistakes = folder / "mistakes.png"
    _warn_if_fails(draw_mistakes, dataset.test_volumes, predictions, names, mistakes, title)


def _warn_if_fails(write: Callable[..., None], *arguments: Any) -> None:
    try:
        write(*arguments)
    except Exception as error:  # matplotlib may raise anything; the run must go on
        warnings.warn(reason(error), stacklevel=3)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(content, indent=2, default=str) + "\n").encode())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
