"""The trained networks that come with the package, by name: python -m wrn3d.predict cifar10 ..."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
FOLDERS = _PACKAGE / "weights", _PACKAGE.parent / "weights"  # as installed; in a clone
ENDING = ".safetensors"


def names() -> list[str]:
    """Return the names of the networks."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob(f"*{ENDING}")})


def find(path: Path) -> Path:
    """Return the file of the trained network with this name, or `path` itself if there is none.

    A file of that name goes first.
    """
    if path.name != str(path) or os.path.isfile(path):
        return path
    files = (folder / f"{path}{ENDING}" for folder in FOLDERS)
    return next((file for file in files if os.path.isfile(file)), path)


def card(path: Path) -> Path | None:
    """Return the card of a trained network, named or given by its file; None for other files."""
    file = find(path)
    card = file.with_suffix(".md")
    is_shipped = any(file.resolve().parent == folder.resolve() for folder in FOLDERS)
    return card if is_shipped and card.is_file() else None
