"""Read the logs of runs and draw loss, accuracy and learning rate over the iterations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wrn3d.runs.figures import MATHLESS, add_legend, new_figure, run_name, save_figure
from wrn3d.runs.folder import RunFolder, best_iteration
from wrn3d.runs.record import RUN, read_json
from wrn3d.system.errors import MissingDataError

POINTS = 200  # at most, in a curve: more would not be visible
PANELS = ("loss", "accuracy", "learning_rate")
MARGINS = {"left": 0.05, "right": 0.99, "top": 0.84, "bottom": 0.13, "wspace": 0.2}


@dataclass(frozen=True)
class Curves:
    """The logs of a run, as arrays by column name.

    `training` holds log.csv, averaged over consecutive iterations to at most POINTS points.
    `validation` holds validation.csv.
    """

    name: str
    training: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]
    best_by: str = "accuracy"

    @property
    def best(self) -> tuple[float, int] | None:
        """The best score, `best_by`, on the validation split and its iteration, if there is one."""
        iterations = self.validation["iteration"].astype(int).tolist()
        scores = dict(zip(iterations, self.validation[self.best_by].tolist(), strict=True))
        best = best_iteration(scores)
        return None if best is None else (scores[best], best)

    @property
    def score_name(self) -> str:
        """What `best_by` is called in a picture."""
        return "AUC" if self.best_by == "auc" else self.best_by.replace("_", " ")


def read_curves(path: str | Path) -> Curves:
    """Read the logs in the folder of a run.

    Raises MissingDataError if it holds no log, and DataError if a log cannot be read.
    """
    folder = RunFolder(path)
    count = sum(1 for _ in folder.log.rows())  # a long log does not fit into memory
    if not count:
        raise MissingDataError(f"{path} holds no log of a run: name the --output folder of a run")
    per_point = -(-count // POINTS)
    sums, counts = np.zeros((POINTS, len(folder.log.columns))), np.zeros((POINTS, 1))
    rows = zip(range(count), folder.log.rows(), strict=False)  # the run may add more meanwhile
    for number, row in rows:
        sums[number // per_point] += row
        counts[number // per_point] += 1
    filled = counts[:, 0] > 0
    training = sums[filled] / counts[filled]
    columns = folder.validations.columns
    validation = np.array(list(folder.validations.rows())).reshape(-1, len(columns))
    settings = read_json(folder.path / RUN).get("settings")
    best_by = settings.get("best_by") if isinstance(settings, dict) else None
    return Curves(
        run_name(path),
        dict(zip(folder.log.columns, training.T, strict=True)),
        dict(zip(columns, validation.T, strict=True)),
        best_by if best_by in columns else "accuracy",
    )


def draw(runs: Sequence[Curves], path: str | Path) -> None:
    """Draw the curves of one or several runs in a picture, with their scores.

    Training lines are solid, validation lines dashed. Raises what `atomic_file` raises.
    """
    figure = new_figure(figsize=(12, 3.9))  # fixed margins: automatic ones take twice as long
    panels = figure.subplots(1, len(PANELS), gridspec_kw=MARGINS)
    for number, run in enumerate(runs):
        _draw_run(panels, run, f"C{number % 10}", "C1" if len(runs) == 1 else f"C{number % 10}")
    for name, panel in zip(PANELS, panels, strict=True):
        _label(panel, name)
    figure.suptitle(_title(runs), **MATHLESS)
    if len(runs) == 1:
        named = zip(("training", "validation"), panels[0].lines, strict=True)
        add_legend(panels[0], {name: line for name, line in named if len(line.get_xdata())})
    else:
        _add_legend_of_several(panels, runs)
    save_figure(figure, path)


def _title(runs: Sequence[Curves]) -> str:
    """Return the title: which run, which splits, which score."""
    validated = any(run.best for run in runs)
    splits = "training and validation split" if validated else "training split"
    if len(runs) > 1:
        names = {run.score_name for run in runs if run.best}
        title = f"{len(runs)} runs"
        score = f"with the best validation {names.pop() if len(names) == 1 else 'score'} of each"
        return f"{title}, {splits}, {score}" if validated else f"{title}, {splits}"
    [run] = runs
    score = f"last loss {run.training['loss'][-1]:.4g}"
    if run.best:
        value, iteration = run.best
        score = f"best validation {run.score_name} {value:.4f} after iteration {iteration}"
    return f"{run.name}, {splits}: {score}"


def _draw_run(panels: Sequence[Any], run: Curves, colour: str, validation_colour: str) -> None:
    for name, panel in zip(PANELS, panels, strict=True):
        panel.plot(
            run.training["iteration"],
            run.training[name],
            color=colour,
            linewidth=1.4,
            marker="o" if len(run.training[name]) == 1 else None,
        )
        if name in run.validation:
            panel.plot(
                run.validation["iteration"],
                run.validation[name],
                "o--",
                markersize=3,
                color=validation_colour,
                linewidth=1,
            )


def _label(panel: Any, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_title(name.replace("_", " "))
    panel.set_xlabel("iteration")
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.ticklabel_format(axis="y", scilimits=(-3, 4))  # longer numbers exceed the margin
    panel.grid(color="#e5e8ec")
    panel.spines[["top", "right"]].set_visible(False)
    if name != "accuracy":
        panel.set_ylim(bottom=0)


def _add_legend_of_several(panels: Sequence[Any], runs: Sequence[Curves]) -> None:
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{number} {name}" for number, name in enumerate(names, 1)]
    scores = [f"  {run.best[0]:.4f}" if run.best else "" for run in runs]
    names = [name + score for name, score in zip(names, scores, strict=True)]
    add_legend(panels[0], dict(zip(names, panels[0].lines[::2], strict=True)))
    if any(run.best for run in runs):
        example = panels[1].plot([], [], "o--", color="0.5", markersize=3)
        add_legend(panels[1], {"validation": example[0]}, loc="lower right")
