"""Curves of runs: loss, accuracy and learning rate over the iterations, from their folders."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wrn3d.runs.figures import add_legend, save_figure
from wrn3d.runs.folder import RunFolder
from wrn3d.system.errors import MissingDataError

POINTS = 200  # of a curve: more no one sees
PANELS = ("loss", "accuracy", "learning_rate")
MARGINS = {"left": 0.05, "right": 0.99, "top": 0.91, "bottom": 0.14, "wspace": 0.2}


@dataclass(frozen=True)
class Curves:
    """What a run has logged: `training` has the columns of log.csv, each the means of as many
    iterations as make POINTS points of a long run; `validation` those of validation.csv."""

    name: str
    training: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]


def read_curves(path) -> Curves:
    """Those of the run in a folder; raises MissingDataError where there is none, or DataError."""
    folder = RunFolder(path)
    count = folder.log.count()
    if not count:
        raise MissingDataError(f"{path} holds no log of a run: name the folder that --output named")
    together = -(-count // POINTS)
    sums, counts = np.zeros((POINTS, len(folder.log.columns))), np.zeros((POINTS, 1))
    for place, row in zip(range(count), folder.log.rows(), strict=False):  # it may be going on
        sums[place // together] += row
        counts[place // together] += 1
    means = sums[counts[:, 0] > 0] / counts[counts > 0][:, None]
    validation = np.array(list(folder.validations.rows())).reshape(
        -1, len(folder.validations.columns)
    )
    return Curves(
        Path(path).name or str(path),
        _columns(folder.log, means),
        _columns(folder.validations, validation),
    )


def draw(runs, path):
    """Write a PNG of several Curves, over each other: training drawn through, validation with
    dots. Raises what `atomic_file` does."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    several = len(runs) > 1
    figure = Figure(figsize=(12, 3.6))  # laid out by hand, in half the time
    panels = figure.subplots(1, len(PANELS), gridspec_kw=MARGINS)
    for number, run in enumerate(runs):
        colour = f"C{number % 10}"
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
                    color=colour if several else "C1",
                    linewidth=1,
                )
    for name, panel in zip(PANELS, panels, strict=True):
        panel.set_title(name.replace("_", " "))
        panel.set_xlabel("iteration")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.ticklabel_format(axis="y", scilimits=(-3, 4))  # else as wide as the margin
        panel.grid(color="#e5e8ec")
        panel.spines[["top", "right"]].set_visible(False)
        if name != "accuracy":
            panel.set_ylim(bottom=0)
    training, validation = panels[0].lines[::2], panels[0].lines[1::2]
    if several:
        names = [run.name for run in runs]
        if len(set(names)) < len(names):
            names = [f"{number} {name}" for number, name in enumerate(names, 1)]
        add_legend(panels[0], dict(zip(names, training, strict=True)))
    else:
        lines = {"training": training[0], "validation": validation[0]}
        add_legend(panels[0], {name: line for name, line in lines.items() if len(line.get_xdata())})
    if several and any(len(run.validation["iteration"]) for run in runs):
        dots = panels[1].plot([], [], "o--", color="0.5", markersize=3)
        add_legend(panels[1], {"validation": dots[0]}, loc="lower right")
    save_figure(figure, path)


def _columns(log, rows):
    return dict(zip(log.columns, rows.T, strict=True))
