"""The networks to measure, their batch sizes and the real data that they train on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod

import numpy as np

from wrn3d import Dataset
from wrn3d.data import digits
from wrn3d.network.parameters import network_parameters
from wrn3d.network.spec import WideResNetSpec
from wrn3d.network.wide_resnet import PRECISIONS
from wrn3d.system import machine


@dataclass(frozen=True)
class Case:
    """A network and its batch size. With a `side` it trains on cubes of one channel, else on
    images."""

    depth: int
    widen_factor: int
    batch_size: int
    side: int | None = None

    @property
    def name(self) -> str:
        """Name on the command line: "16-4-b32" for images in batches of 32, "16-1-64-b2" for
        64x64x64 volumes."""
        parts = self.depth, self.widen_factor, self.side, f"b{self.batch_size}"
        return "-".join(str(part) for part in parts if part)

    @property
    def network(self) -> str:
        """Network and data, such as "WRN-16-4, images"."""
        data = "images" if self.side is None else f"{self.side}³ volumes"
        return f"{self.spec.name}, {data}"

    @property
    def title(self) -> str:
        """Name in tables, such as "WRN-16-4, images, batch 32"."""
        return f"{self.network}, batch {self.batch_size}"

    @property
    def spec(self) -> WideResNetSpec:
        """The network. Its shortcut is the projection: stock Keras has no pad shortcut."""
        shape = (1, 32, 32, 3) if self.side is None else (self.side,) * 3 + (1,)
        return WideResNetSpec(
            self.depth, self.widen_factor, num_classes=10, input_shape=shape, shortcut="projection"
        )

    @property
    def training_operations(self) -> float:
        """Floating-point operations of training on one volume.

        A multiply-add counts as two operations. Each layer takes the same number for its output,
        for the gradient of its input and for the gradient of its kernel; the first layer needs no
        gradient of its input. A volume of depth 1 uses only the kernels' centre slices.
        """
        counts = _multiply_adds(self.spec)
        return 2.0 * (3 * sum(counts.values()) - counts["conv0"])

    @cached_property
    def dataset(self) -> Dataset:
        """Real digits: images, or cubes of 32 stacked images with the first image's label."""
        images = digits.load()
        if self.side is None:
            return images
        splits: list[np.ndarray] = []
        for volumes, labels in (images.split("train"), images.split("test")):
            rows = slice(len(labels) // 32 * 32)
            cubes = volumes[rows, 0, :, :, :1].reshape(-1, 32, 32, 32, 1)
            splits += [cubes, labels[rows][::32]]
        cubes = Dataset("stacked digits", images.origin, images.class_names, *splits)
        return cubes.resized(self.side)

    @property
    def volumes(self) -> np.ndarray:
        """A batch to evaluate, normalised, (N, D, H, W, C)."""
        return self.dataset.normalise(self.dataset.train_volumes[: self.batch_size])

    @property
    def whole_batches(self) -> int:
        """Number of training samples in whole batches: a smaller last batch would look fast."""
        return len(self.dataset.train_labels) // self.batch_size * self.batch_size


MOMENTUM = {"momentum": 0.9, "nesterov": True}  # every contender's update


def _named(*cases: Case) -> dict[str, Case]:
    return {case.name: case for case in cases}


TRAINED = _named(
    Case(16, 1, 128),
    Case(16, 2, 128),
    Case(16, 4, 128),
    Case(16, 4, 32),
    Case(28, 4, 32),
    Case(28, 10, 32),
    Case(16, 1, 8, 32),
    Case(16, 2, 8, 32),
    Case(16, 1, 4, 48),
    Case(16, 2, 4, 48),
    Case(16, 1, 2, 64),
    Case(16, 2, 2, 64),
)
EVALUATED = _named(
    Case(16, 1, 200),
    Case(16, 1, 1),
    Case(16, 4, 200),
    Case(16, 4, 1),
    Case(28, 10, 1),
    Case(16, 1, 32, 32),
    Case(16, 1, 1, 32),
)
CASES = TRAINED | EVALUATED
POSSIBLE = {"training": TRAINED, "evaluation": EVALUATED, "start": TRAINED}  # {work: cases}
WORKS = {  # {work: names of the cases to measure by default}
    "training": tuple(TRAINED),
    "evaluation": ("16-1-b200", "16-1-b1", "16-4-b200", "16-4-b1"),
    "start": ("16-4-b128",),
}
QUICK = {"training": ("16-1-b128",), "evaluation": ("16-1-b200",), "start": ("16-1-b128",)}


def precisions(quick: bool) -> tuple[Sequence[str], list[str]]:
    """Return the precisions to measure here, and a sentence if bfloat16 is left out."""
    if not quick and machine.cpu_has_bfloat16():
        return PRECISIONS, []
    why = "--quick leaves it out" if quick else "no instructions of this CPU are known"
    return PRECISIONS[:1], [f"without bfloat16: {why}"]


def _multiply_adds(spec: WideResNetSpec) -> dict[str, int]:
    """Return {name of a parameter: multiply-adds of a forward pass}, for the default strides."""
    counts = {}
    for parameter in network_parameters(spec):
        name, stride = parameter.name, 1
        if name.startswith("group"):
            stride = 2 ** int(name[len("group")])
        outputs = prod(ceil(side / stride) for side in spec.input_shape[:3])
        outputs = 1 if name == "fc.weight" else outputs
        counts[name] = parameter.fan_in * parameter.shape[-1] * outputs  # fan_in: 0 unless a kernel
    return counts
