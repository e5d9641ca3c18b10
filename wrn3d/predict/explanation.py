"""Explain classifications: draw where the network looks, and write the map."""

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn3d.data import scans
from wrn3d.predict.sources import EXPLANATION, Source
from wrn3d.runs.figures import MATHLESS, drawable, new_figure, save_figure
from wrn3d.system.files import atomic_file
from wrn3d.system.reporting import writing_to
from wrn3d.training.ensemble import Network
from wrn3d.training.inputs import Input, Map

AXES = ("depth", "height", "width")
PLANES = ("axial", "coronal", "sagittal")  # of a scan's slices
# At their left and right, and at their top: the patient's right, left, anterior, posterior, head.
SIDES = (("R", "L", "A"), ("R", "L", "H"), ("A", "P", "H"))
WIDTH = 3.2  # of a panel, in inches
STRENGTH = 0.6  # opacity of the map where it is highest
TALLEST = 2.0  # a panel's height, in widths


class Explainer:
    """Explains inputs one after the other, in files of the folder `output`.

    The class is `label`, by default the most probable one. `group` is `grad_cam`'s.
    """

    def __init__(self, classifier: Network, label: str | None, group: int, output: Path) -> None:
        self.classifier, self.label, self.group, self.output = classifier, label, group, output
        self.stems: set[str] = set()
        self.pictures: list[Path] = []

    def __call__(self, source: Source, item: Input) -> None:
        """Write the picture STEM.explain.png and the map in the input's size, (D, H, W) float32.

        The map is STEM.explain.nii.gz for scans, in their geometry, and STEM.explain.npy for
        others. Raises what `grad_cam` and `atomic_file` raise.
        """
        [probabilities] = self.classifier(item.volume[None])
        names = self.classifier.class_names
        label = names.index(self.label) if self.label else int(probabilities.argmax())
        [small] = self.classifier.explain(item.volume[None], label, self.group)
        numbers = item.to_original(small)
        names_left = chain([source.stem], (f"{source.stem}-{number}" for number in count(2)))
        name = next(one for one in names_left if one not in self.stems)
        self.stems.add(name)
        stem = self.output / name
        with writing_to(self.output):
            self.output.mkdir(parents=True, exist_ok=True)
        if item.grid and source.path:
            scans.write_map(_beside(stem, "nii.gz"), numbers, source.path)
        else:
            with atomic_file(_beside(stem, "npy")) as unfinished, unfinished.open("wb") as file:
                np.save(file, numbers)
        title = f"{drawable(Path(source.name).name)}: " + _title(probabilities, names, label)
        self.pictures.append(_beside(stem, "png"))
        _draw(item, numbers, title, self.pictures[-1])


def _title(probabilities: npt.NDArray[np.float64], names: Sequence[str], label: int) -> str:
    """Return which class is explained and which one is predicted, with their probabilities."""
    best = int(probabilities.argmax())
    texts = [f"{drawable(names[one])} ({probabilities[one]:.1%})" for one in (label, best)]
    return texts[0] if label == best else f"evidence for {texts[0]}; predicted: {texts[1]}"


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}{EXPLANATION}{ending}")


def _draw(item: Input, numbers: Map, title: str, path: Path) -> None:
    """Draw the slices through the map's peak, above them with the map; of a picture, all of it."""
    volume = item.original
    if item.grid:  # The head is up, and the patient's right on the left, as radiologists look.
        volume, numbers = volume[::-1, ::-1, ::-1], numbers[::-1, ::-1, ::-1]
    highest = float(numbers.max())
    middle = tuple(side // 2 for side in numbers.shape)
    peak = np.unravel_index(int(numbers.argmax()), numbers.shape) if highest else middle
    axes = range(3) if volume.shape[0] > 1 else range(1)
    spacing = item.grid.spacing if item.grid else (1.0, 1.0, 1.0)
    lengths = [side * mm for side, mm in zip(volume.shape, spacing, strict=False)]
    others = [[one for one in range(3) if one != axis] for axis in axes]
    height = WIDTH * min(TALLEST, max(lengths[down] / lengths[right] for down, right in others))
    figure = new_figure(figsize=(WIDTH * len(others) + 0.9, 2 * height + 0.6), layout="constrained")
    panels = figure.subplots(2, len(others), squeeze=False)
    limits = {"vmin": float(volume.min()), "vmax": float(volume.max()), "cmap": "gray"}
    image: Any = None
    for column, (axis, (down, right)) in enumerate(zip(axes, others, strict=True)):
        picture = np.take(volume, peak[axis], axis)
        part = np.take(numbers, peak[axis], axis)
        for panel in panels[:, column]:
            panel.imshow(
                picture.squeeze(-1) if picture.shape[-1] == 1 else picture,
                aspect=spacing[down] / spacing[right],
                **limits,
            )
            panel.set_axis_off()
        if len(others) > 1:
            # Of the file turned to RAS, from 0.
            place = volume.shape[axis] - 1 - peak[axis] if item.grid else peak[axis]
            name = PLANES[axis] if item.grid else AXES[axis]
            panels[0, column].set_title(f"{name} {place}", fontsize=9)
            if item.grid:
                _mark_sides(panels[0, column], *SIDES[axis])
        image = panels[1, column].imshow(
            part,
            aspect=spacing[down] / spacing[right],
            alpha=STRENGTH * part / (highest or 1),
            cmap="inferno",
            vmin=0,
            vmax=highest or 1,
        )
    bar = figure.colorbar(image, ax=panels[1, :], shrink=0.8)
    bar.set_label("evidence for the class" if highest else "no evidence for it", fontsize=8)
    figure.suptitle(title, fontsize=10, **MATHLESS)
    save_figure(figure, path)


def _mark_sides(panel: Any, left: str, right: str, top: str) -> None:
    """Write the directions in a patient at three edges of a slice."""
    from matplotlib import patheffects

    style = {"transform": panel.transAxes, "color": "white", "fontsize": 8}
    outline = [patheffects.withStroke(linewidth=1.5, foreground="black")]
    for x, y, text in ((0.03, 0.5, left), (0.97, 0.5, right), (0.5, 0.97, top)):
        across = "left" if x < 0.5 else "right" if x > 0.5 else "center"
        along = "top" if y > 0.5 else "center"
        panel.text(x, y, text, ha=across, va=along, path_effects=outline, **style)
