"""run.json and test.json: what was run, with which versions on which machine, and its results."""

import json
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import asdict
from math import isfinite

from wrn3d.network.parameters import parameter_count
from wrn3d.runs.mistakes import draw_confusion, draw_worst
from wrn3d.system import machine, tensorflow_setup
from wrn3d.system.errors import reason
from wrn3d.system.files import write_atomic
from wrn3d.training.config import DATA

RUN = "run.json"


def record_start(folder, environment, config):
    """Write run.json; where it is there, of a run that goes on, the moment is added. Where it
    cannot be written that is said: the run can do without."""
    path, started = folder / RUN, []
    # A new one, or one that was damaged.
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        started = list(json.loads(path.read_text(encoding="utf-8"))["started"])
    spec, dataset = environment.spec, environment.dataset
    found = {
        "started": [
            *started,
            {
                "at": _now(),
                "iteration": environment.iteration,
                "front_end": environment.front_end,
                "command": sys.argv,
            },
        ],
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
    _try(_write, path, found)


def record_test(folder, environment, results, predictions, matrix):
    """Write test.json, confusion.png and mistakes.png; `results` are EvalResults by how they were
    measured, `predictions` those of the first, `matrix` what is taken for what in them. What cannot
    be written is said."""
    dataset = environment.dataset
    names = dataset.class_names
    _try(
        _write,
        folder / "test.json",
        {
            "at": _now(),
            "iteration": environment.iteration,
            **{
                name: {
                    score: number if isfinite(number) else None  # which JSON has no word for
                    for score, number in result._asdict().items()
                }
                for name, result in results.items()
            },
            "classes": names,
            "confusion": matrix.tolist(),
        },
    )
    _try(draw_confusion, matrix, names, folder / "confusion.png")
    _try(draw_worst, dataset.test_volumes, predictions, names, folder / "mistakes.png")


def _try(write, *arguments):
    try:
        write(*arguments)
    except Exception as error:  # whatever a user's matplotlib has: the run has done its work
        warnings.warn(reason(error), stacklevel=3)


def _write(path, found):
    write_atomic(path, (json.dumps(found, indent=2, default=str) + "\n").encode())


def _now():
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
