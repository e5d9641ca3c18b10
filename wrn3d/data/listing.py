"""Which files the volumes of a data set come from, and which of them belong together."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.system.checks import require
from wrn3d.system.errors import quoted


class Listing(NamedTuple):
    """The absolute path of each volume's file, (N,), and its group, "" if it has none, (N,)."""

    files: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]

    @classmethod
    def of(
        cls, files: Sequence[str | os.PathLike[str]], groups: Sequence[str] | None = None
    ) -> "Listing":
        """Return the listing of paths, by default without groups."""
        paths = [os.path.abspath(file) for file in files]
        return cls(np.array(paths, str), np.array(groups or [""] * len(paths), str))

    def only(self, rows: Any) -> "Listing":
        """Return the listing of these rows: a slice, indices or a mask."""
        return Listing(self.files[rows], self.groups[rows])

    @property
    def group_numbers(self) -> npt.NDArray[np.int64]:
        """The number of each file's group, (N,); a file without group is alone in its own."""
        numbers: dict[tuple[str, int], int] = {}
        keys = ((group, -1 if group else row) for row, group in enumerate(self.groups.tolist()))
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def joined(listings: Sequence[Listing | None]) -> Listing | None:
    """Return the listings one after the other as one, or None if one is missing."""
    known = [one for one in listings if one is not None]
    if not known or len(known) < len(listings):
        return None
    return Listing(*(np.concatenate(parts) for parts in zip(*known, strict=True)))


def check_listings(listings: Mapping[str, Listing], counts: Mapping[str, int]) -> None:
    """Raise UsageError unless each split's listing has as many files as the split has volumes."""
    require(
        isinstance(listings, Mapping)
        and all(isinstance(listing, Listing) for listing in listings.values()),
        f"listings is {quoted(listings)}, but must be a dictionary with a Listing for each split",
    )
    for split, listing in listings.items():
        require(
            len(listing.files) == len(listing.groups) == counts.get(split),
            f"the listing of the {split} split has {len(listing.files):,} files for "
            f"{counts.get(split, 0):,} volumes: change both or neither",
        )


def check_cut(listing: Listing | None, count: int) -> None:
    """Raise UsageError if the last `count` files share a group with others."""
    groups = [] if listing is None else listing.groups.tolist()
    cut = (set(groups[:-count]) & set(groups[-count:])) - {""}
    require(
        not cut,
        f"validation is {count}, which would cut the group {quoted(min(cut, default=''))}: say in "
        "the column split which files validate",
    )
