"""Crops, flips and cutouts, as pure functions of (seed, position)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wrn3d.system.randomness import random_words

AXES = ("depth", "height", "width")


@dataclass(frozen=True)
class Augmentation:
    """What is done to training volumes; the defaults are the paper's (section 3).

    `padding` voxels are reflected on each side before a window is cropped at random. Each of
    `flip_axes` is mirrored for half of the samples, drawn anew at each position or, if `alternate`,
    for each sample in every other epoch, along the height for two of four, along the depth for four
    of eight (Jordan 2024, 94 % on CIFAR-10 in 3.29 seconds). A cube of `cutout` voxels at a random
    place becomes zero, the mean (DeVries and Taylor 2017).
    """

    padding: int = 4
    flip_axes: tuple[str, ...] = ("width",)
    alternate: bool = False
    cutout: int = 0

    def __call__(self, volumes, seed, epoch, index, rows, total):
        """Volumes (N, D, H, W, C), the first at `index` of the epoch, the next at index + 1;
        `rows` (N,) are their places in the data set of `total`."""
        position = epoch * total + index
        count, *sides = volumes.shape[:-1]
        words = random_words(seed, "crop and flip", position, count)
        axes = [
            _reflected(words[:, axis] % (2 * self.padding + 1), side, self.padding)
            if side > 1
            else np.zeros((count, 1), np.intp)
            for axis, side in enumerate(sides)
        ]
        flips, turns = words[:, 3], np.uint64(0)
        if self.alternate:
            flips, turns = _first_flips(seed, total)[rows], np.uint64(epoch)
        for name, mirrored in self._mirrored(flips, turns).items():
            places = axes[AXES.index(name)]
            places[mirrored] = places[mirrored, ::-1]
        volumes = _at(volumes, *axes)
        if self.cutout:
            _cut_out(volumes, self.cutout, random_words(seed, "cutout", position, count))
        return volumes

    def _mirrored(self, words, turns):
        """{axis: (N,) whether a sample is mirrored}."""
        # The width by the lowest bit, the height by the next; each alternates half as often.
        return {
            name: ((words >> bit) + (turns >> bit)) % 2 == 1
            for bit, name in ((np.uint64(2 - AXES.index(name)), name) for name in self.flip_axes)
        }


@lru_cache(maxsize=2)
def _first_flips(seed, total):
    """(total,): the word that decides on each sample's first epoch."""
    return random_words(seed, "first flip", 0, total)[:, 3].copy()


def _reflected(offsets, side, padding):
    """(N, side) indices: a window at `offsets` of a side padded by reflection on both ends."""
    period = max(1, 2 * (side - 1))
    index = np.abs(offsets.astype(np.intp)[:, None] + np.arange(side) - padding) % period
    return np.minimum(index, period - index)


def _at(volumes, depths, rows, columns):
    """The voxels at these places, (N, side) each, of each volume (N, D, H, W, C)."""
    count, depth, height, width, channels = volumes.shape
    places = np.arange(count)[:, None, None, None] * depth + depths[:, :, None, None]
    places = (places * height + rows[:, None, :, None]) * width + columns[:, None, None, :]
    # One gather from a list of voxels: twice as fast as an index for each axis.
    return volumes.reshape(-1, channels).take(places, axis=0)


def _cut_out(volumes, side, words):
    """Zeros in a cube of each volume, wholly inside; in place."""
    for volume, (*draws, _) in zip(volumes, words, strict=True):
        corners = [
            int(draw) % max(1, length - side + 1)
            for draw, length in zip(draws, volume.shape, strict=False)
        ]
        volume[tuple(slice(corner, corner + side) for corner in corners)] = 0
