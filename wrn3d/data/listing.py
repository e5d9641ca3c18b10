"""Which files the volumes of a data set come from, and which of them belong together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Listing(NamedTuple):
    """The file of each volume of a split, (N,), and its group, "" if it has none, (N,)."""

    files: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]

    @classmethod
    def of(cls, files: Sequence[object], groups: Sequence[str] | None = None) -> "Listing":
        """Return the listing of paths, by default without groups."""
        return cls(np.array([str(file) for file in files]), np.array(groups or [""] * len(files)))

    def only(self, rows: Any) -> "Listing":
        """Return the listing of these rows: a slice, indices or a mask."""
        return Listing(self.files[rows], self.groups[rows])

    @property
    def group_numbers(self) -> npt.NDArray[np.int64]:
        """The number of each file's group, (N,); a file without group is alone in its own."""
        numbers: dict[tuple[str, int], int] = {}
        keys = ((group, -1 if group else row) for row, group in enumerate(self.groups.tolist()))
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def joined(listings: Sequence[Listing]) -> Listing | None:
    """Return the listings one after the other as one, or None if there are none."""
    if not listings:
        return None
    return Listing(*(np.concatenate(parts) for parts in zip(*listings, strict=True)))
