"""Draw the loss, the accuracy and the images/s of both sides over the iterations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wrn3d.compare.comparison import Comparison
from wrn3d.runs.figures import new_figure

PLOTS = {  # file: (field of StepResult, label of the axis)
    "loss.png": ("loss", "loss of the batch"),
    "accuracy.png": ("accuracy", "accuracy on the batch"),
    "speed.png": ("images_per_second", "images/s"),
}
# The second side is a thin line over the thick one of the first: both show where they coincide.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#f2a541", "linewidth": 4},
    {"color": "#1b4965", "linewidth": 1.2},
)


def draw(comparisons: Sequence[Comparison], folder: Path) -> dict[str, Path]:
    """Write the PNGs into `folder` and return {caption: path}."""
    captions = {}
    for name, (field, label) in PLOTS.items():
        figure = new_figure(figsize=(6, 3.2), layout="constrained")
        axes = figure.subplots()
        for comparison in comparisons:
            for (front_end, run), style in zip(comparison.runs.items(), STYLES, strict=True):
                # The first iteration builds the graph: its speed means nothing.
                results = run.results[1:] if field == "images_per_second" else run.results
                axes.plot(
                    [result.iteration for result in results],
                    [getattr(result, field) for result in results],
                    label=front_end if comparison is comparisons[0] else None,
                    marker="o" if len(results) < 2 else None,
                    **style,
                )
        axes.set(xlabel="iteration", ylabel=label)
        axes.locator_params(axis="x", integer=True)
        if field != "loss":  # the axis of the loss need not start at 0
            axes.set_ylim(0, axes.get_ylim()[1])
        axes.grid(color="#e5e8ec")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(folder / name, dpi=200)
        captions[label[0].upper() + label[1:]] = folder / name
    return captions
