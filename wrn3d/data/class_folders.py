"""Find the pictures in train/<class>/, test/<class>/ and val/<class>/."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from wrn3d.data.dataset import SPLIT_NAMES
from wrn3d.data.pictures import ENDINGS
from wrn3d.system.errors import DataError, reason


class Picture(NamedTuple):
    """A picture: its file, the label of its class, and its path in the folder of the class."""

    file: Path
    label: int
    name: str


class Found(NamedTuple):
    """The names of the classes, the pictures of each split, and the files that are not read."""

    class_names: tuple[str, ...]
    pictures: dict[str, list[Picture]]
    others: list[Path]


def find_pictures(path: Path) -> Found:
    """Find the pictures of a data set, sorted by class and path, and the files that are not read.

    Ignores hidden folders, and hidden files that are not pictures. A link is a picture even if its
    file is missing: reading then names it. Raises DataError for missing folders and for classes
    without pictures.
    """
    folders = {split: path / name for split, name in SPLIT_NAMES.items()}
    try:
        names = _classes(folders["train"])
        others = list(_misnamed(path, folders.values()))
        pictures = {
            split: _pictures(folder, names, others)
            for split, folder in folders.items()
            if split != "validation" or folder.is_dir()
        }
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read ({reason(error)}): put pictures into "
            "train/<class>/ and test/<class>/"
        ) from error
    if len(names) < 2:
        raise DataError(
            f"{folders['train']} has {len(names)} class folders, but needs two or more: make one "
            "for each class"
        )
    empty = set(range(len(names))) - {picture.label for picture in pictures["train"]}
    if empty:
        raise DataError(
            f"{folders['train'] / names[min(empty)]} holds no pictures: add some, or "
            "delete the folder"
        )
    return Found(tuple(names), pictures, others)


def _classes(folder: Path) -> list[str]:
    """Return the sorted names of the folders in `folder`, except for hidden ones.

    Raises DataError if two of them are the same text.
    """
    names = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.setdefault(_composed(name), name)
        if twin != name:
            raise DataError(
                f"{folder} has the class {name!r} twice, as {twin!a} and as {name!a}, "
                "two ways to write it in Unicode: move the pictures into one folder"
            )
    return names


def _composed(name: str) -> str:
    """Return a name in one form of Unicode: macOS may decompose letters, Linux does not."""
    return normalize("NFC", name)


def _misnamed(path: Path, folders: Iterable[Path]) -> Iterator[Path]:
    """Yield folders beside train/, test/ and val/ whose names look like those of splits."""
    known = [folder for folder in folders if folder.is_dir()]
    for entry in path.iterdir():
        looks_like_one = entry.name.casefold().startswith(("train", "val", "test", "dev"))
        if looks_like_one and entry.is_dir() and not any(map(entry.samefile, known)):
            yield entry


def _pictures(folder: Path, names: Sequence[str], others: list[Path]) -> list[Picture]:
    """Return the pictures of a split, sorted; add the files that are not read to `others`."""
    labels = {_composed(name): label for label, name in enumerate(names)}
    classes = _classes(folder)
    unknown = [name for name in classes if _composed(name) not in labels]
    if unknown:
        raise DataError(
            f"{folder} has a class {unknown[0]!r} that train/ lacks: add it there, or delete it"
        )
    others += filter(_is_worth_a_note, (entry for entry in folder.iterdir() if not entry.is_dir()))
    pictures = []
    for name in classes:
        for entry in sorted(_walk(folder / name)):
            if _is_picture(entry):
                path_in_class = entry.relative_to(folder / name).as_posix()
                pictures.append(Picture(entry, labels[_composed(name)], path_in_class))
            elif _is_worth_a_note(entry):
                others.append(entry)
    if not pictures:
        raise DataError(
            f"{folder} holds no pictures: put {', '.join(ENDINGS)} files into its class folders"
        )
    return sorted(pictures, key=lambda picture: picture.label)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files, and links to folders, in a folder and its visible subfolders."""

    def fail(error: OSError) -> None:
        raise error

    for inner, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(inner, name))]
        yield from (Path(inner, name) for name in (*links, *files))


def _is_picture(entry: Path) -> bool:
    is_file = entry.is_file() or (entry.is_symlink() and not entry.exists())
    return _has_ending(entry) and is_file and not entry.name.startswith(".")


def _is_worth_a_note(entry: Path) -> bool:
    """Return whether to tell the user that this is not read."""
    return _has_ending(entry) or not entry.name.startswith(".")


def _has_ending(entry: Path) -> bool:
    return entry.suffix.lower() in ENDINGS
