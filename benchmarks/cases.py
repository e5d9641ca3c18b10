"""What is measured: networks, batches and the real data that they are fed."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from wrn3d import Dataset
from wrn3d.data import digits
from wrn3d.network.parameters import network_parameters
from wrn3d.network.spec import WideResNetSpec
from wrn3d.training.evaluation import LARGEST_BATCH


@dataclass(frozen=True)
class Case:
    """A network and its batch. `side` is that of volumes of one channel; None means images."""

    depth: int
    widen_factor: int
    batch_size: int
    side: int | None = None

    @property
    def name(self) -> str:
        """Such as "16-4", or "16-1-32" on volumes of 32x32x32."""
        return "-".join(str(part) for part in (self.depth, self.widen_factor, self.side) if part)

    @property
    def title(self) -> str:
        """For people."""
        data = "images" if self.side is None else f"{self.side}³ volumes"
        return f"WRN-{self.depth}-{self.widen_factor}, {data}, batch {self.batch_size}"

    @property
    def spec(self) -> WideResNetSpec:
        """The network, with the paper's shortcut, for which stock Keras has a layer."""
        shape = (1, 32, 32, 3) if self.side is None else (self.side,) * 3 + (1,)
        return WideResNetSpec(
            self.depth, self.widen_factor, num_classes=10, input_shape=shape, shortcut="projection"
        )

    @property
    def evaluation_batch(self) -> int:
        """Volumes that are evaluated together."""
        return min(LARGEST_BATCH, 4 * self.batch_size)

    @property
    def training_operations(self) -> float:
        """Floating-point operations that training on one volume needs.

        Two for each multiply-add of the lowered network (a volume of depth 1 meets the kernels'
        centre slices alone), forward, for the input's gradient and for the filters'; the first
        convolution needs no gradient of its input.
        """
        layers = {
            parameter.name: parameter.multiply_adds for parameter in network_parameters(self.spec)
        }
        return 2.0 * (3 * sum(layers.values()) - layers["conv0"])

    def dataset(self) -> Dataset:
        """Real digits: as images, or stacked to volumes."""
        return digits.load() if self.side is None else digit_volumes(self.side)


CASES = {
    case.name: case
    for case in (
        Case(16, 1, 128),
        Case(16, 2, 128),
        Case(16, 4, 32),
        Case(28, 4, 32),
        Case(28, 10, 32),
        Case(16, 1, 8, 32),
        Case(16, 2, 8, 32),
        Case(16, 1, 2, 64),
        Case(16, 2, 2, 64),
    )
}
QUICK = ("16-4",)


@cache
def digit_volumes(side):
    """Volumes (N, side, side, side, 1) of 32 digits on top of each other, labelled as the first."""
    images = digits.load()
    splits = []
    for volumes, labels in (
        (images.train_volumes, images.train_labels),
        (images.test_volumes, images.test_labels),
    ):
        count = len(volumes) // 32
        stacks = volumes[: count * 32, 0, :, :, :1].reshape(count, 32, 32, 32, 1)
        for axis in (1, 2, 3):
            stacks = np.repeat(stacks, side // 32, axis)
        splits += [stacks, labels[: count * 32 : 32]]
    return Dataset("stacked digits", images.origin, images.class_names, *splits)
