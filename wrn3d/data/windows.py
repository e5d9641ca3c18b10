"""Map intensities to 256 levels: --window -100 400, or --window 0.5% 99.5%."""

from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from wrn3d.data.voxels import Voxels, rounded
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, quoted

LEVELS = 256


class Window(NamedTuple):
    """Intensities from `low` to `high` become levels from 0 to 255; those outside are clipped.

    With `percentiles`, both are percentiles of each volume's own intensities.
    """

    low: float
    high: float
    percentiles: bool = False

    def __call__(self, volume: Voxels, name: str) -> Voxels:
        """Return a volume's levels, uint8; `name` says which volume it is.

        A blank volume inside the window is taken. Raises DataError if the window maps all
        intensities of a volume to one level.
        """
        low, high = self.low, self.high
        if self.percentiles:
            low, high = map(float, np.percentile(volume, (low, high)))
        lowest, highest = float(volume.min()), float(volume.max())
        is_blank = low <= lowest == highest <= high and low < high
        if not (is_blank or max(low, lowest) < min(high, highest)):
            raise DataError(
                f"the window {' '.join(texts(self))} leaves nothing of {name}, whose intensities "
                f"run from {lowest:g} to {highest:g}: choose another --window"
            )
        return rounded((volume.astype(np.float64) - low) / (high - low) * (LEVELS - 1), np.uint8)


def texts(window: Window) -> tuple[str, str]:
    """Return a window's limits as --window takes them."""
    ending = "%" if window.percentiles else ""
    return f"{window.low:.12g}{ending}", f"{window.high:.12g}{ending}"


def check_window(name: str, value: Any) -> tuple[str, str] | None:
    """Return the limits of a window as texts; None for None.

    Raises UsageError unless they are two rising numbers, or two percentiles such as "0.5%".
    """
    return None if value is None else texts(parsed(value, name))


def parsed(value: Any, name: str = "window") -> Window:
    """Return the Window that two numbers or texts mean; raise UsageError as `check_window` does."""
    is_list = isinstance(value, (tuple, list)) or np.ndim(value) == 1
    limits = [str(one).strip() for one in value] if is_list else []
    are_percentiles = [limit.endswith("%") for limit in limits]
    try:
        low, high = (float(limit.removesuffix("%")) for limit in limits)
    except ValueError:
        low, high = 1.0, 0.0
    percentiles = all(are_percentiles)
    require(
        low < high
        and isfinite(high - low)
        and percentiles == any(are_percentiles)
        and (not percentiles or 0 <= low < high <= 100),
        f"{name} is {quoted(value)}, but must be two numbers, the lower one first, such as -100 "
        "400, or two percentiles, such as 0.5% 99.5%",
    )
    return Window(low, high, percentiles)
