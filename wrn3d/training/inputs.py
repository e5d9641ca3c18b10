"""Bring pictures, arrays and scans to a trained network, and its maps back to their size."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data import scans
from wrn3d.data.files import ARRAY
from wrn3d.data.fitting import Resizing, fit, unfit
from wrn3d.data.grids import Grid, off_grid, on_grid
from wrn3d.data.npy import as_volume, check_fits, open_array
from wrn3d.data.pictures import DARK, ENDINGS, read_picture, warn_if_dark
from wrn3d.data.voxels import Voxels, rounded, share_a_unit
from wrn3d.system.checks import check_path
from wrn3d.system.errors import DataError, visible
from wrn3d.system.files import require_file
from wrn3d.training.trained import TrainedNetwork

VOLUMES = ", ".join((ARRAY, *scans.ENDINGS))
ALIKE = 0.05, 20  # a volume's standard deviation, as a multiple of the training data's
NEAR = 5  # how many of the training data's standard deviations a volume's mean may be from theirs

Map = npt.NDArray[np.float32]  # (D, H, W)


class Input(NamedTuple):
    """A picture, an array or a scan: `original` (D, H, W, C) as in the file, `volume` resized.

    `to_original` brings a map of the volume's size to the original's. `grid` is the scan's, in mm,
    or None for others.
    """

    name: str
    volume: Voxels
    original: Voxels
    to_original: Callable[[Map], Map]
    grid: Grid | None = None


def read_input(network: TrainedNetwork, path: str | Path) -> Input:
    """Read a file as the files of a network's training data were read.

    If these were not resized, or if the checkpoint comes from version 0.1, pictures are resized
    bicubically and volumes linearly. Warns of a picture that is nearly black, unless the training
    data were, and of a volume whose numbers are far from theirs.

    Raises MissingDataError if there is no file, and DataError if the file does not fit.
    """
    path = check_path("path", path)
    if not path.is_dir():  # a folder may hold a DICOM series
        require_file(path, f"name a picture ({', '.join(ENDINGS)}) or a volume ({VOLUMES})")
    if scans.is_scan(path):
        return _alike(network, _scan_input(network, path))
    ending = path.suffix.lower()
    if ending == ARRAY:
        return array_input(network, str(path), open_array(path))
    if ending in ENDINGS:
        return _alike(network, _picture_input(network, path))
    raise DataError(f"{path} is neither a picture ({', '.join(ENDINGS)}) nor a volume ({VOLUMES})")


def array_input(network: TrainedNetwork, name: str, array: npt.NDArray[np.generic]) -> Input:
    """Return an array as an Input; raise DataError if it does not fit.

    Warns as `read_input` does.
    """
    volume = as_volume(name, array, network.spec.input_shape)
    in_unit = _in_unit(network, name, volume)
    return _alike(network, _resized(network, name, volume, in_unit, "linear"))


def _alike(network: TrainedNetwork, item: Input) -> Input:
    """Return the input; warn if its numbers are far from the training data's."""
    mean, spread = (float(item.volume.mean(dtype=float)), float(item.volume.std(dtype=float)))
    usual_mean, usual = float(network.mean.mean(dtype=float)), float(network.std[0])
    low, high = ALIKE
    if not low <= spread / usual <= high or abs(mean - usual_mean) > NEAR * usual:
        warnings.warn(
            f"{visible(item.name)} has numbers with mean {mean:.4g} and standard deviation "
            f"{spread:.4g}, unlike the training data's {usual_mean:.4g} and {usual:.4g}: it may be "
            "blank, a mask or in another unit",
            stacklevel=3,
        )
    return item


def _picture_input(network: TrainedNetwork, path: Path) -> Input:
    *sides, channels = network.spec.input_shape
    if sides[0] > 1 or network.kind != np.uint8 or network.window:
        window = ", mapped by a window" if network.window else f", {network.kind}"
        raise DataError(
            f"{path} is a picture of 8 bits, but the network takes volumes of "
            f"{'x'.join(map(str, network.spec.input_shape))}{window}: use an array or a scan "
            f"({VOLUMES})"
        )
    picture = read_picture(path, channels)[None]
    if network.mean.max() > DARK:
        warn_if_dark(visible(str(path)), [picture])
    return _resized(network, str(path), picture, picture, "bicubic")


def _scan_input(network: TrainedNetwork, path: Path) -> Input:
    scan = scans.read_scan(path)
    if len(scan.voxels) == 1 < network.spec.input_shape[0]:
        raise DataError(
            f"{path} has one slice, but the network takes volumes: name the folder with all slices "
            "of its series"
        )
    voxels = _in_unit(network, str(path), scan.voxels)
    grid = network.grid
    if grid is None or voxels.shape[-1] != network.spec.input_shape[-1]:
        # The training data had no spacing, or the channels differ, which the check names.
        check_fits(str(path), voxels.shape, network.spec.input_shape)
        found = _resized(network, str(path), scan.voxels, voxels, "linear")
        return found._replace(grid=scan.grid)
    return Input(
        str(path),
        on_grid(scan._replace(voxels=voxels), grid, network.kind),
        scan.voxels,
        lambda one: off_grid(one, grid, scan.grid),
        scan.grid,
    )


def _resized(
    network: TrainedNetwork, name: str, original: Voxels, voxels: Voxels, usual: str
) -> Input:
    """Bring voxels to the network's size as the training data were, or by the `usual` method."""
    sides = network.spec.input_shape[:3]
    volume = fit(voxels, sides, network.resizing or [Resizing(usual, sides)])
    return Input(name, volume, original, lambda one: unfit(one, original.shape[:3]))


def _in_unit(network: TrainedNetwork, name: str, volume: Voxels) -> Voxels:
    """Return a volume's numbers as the training data's; raise DataError for another unit."""
    if network.window:
        return network.window(volume, name)
    if not share_a_unit([volume.dtype, network.kind]):
        raise DataError(
            f"{name} holds {volume.dtype}, but the network was trained on {network.kind}: save it "
            "with numbers of the same unit"
        )
    return rounded(volume, network.kind)
