"""Load the files that a table (.csv) lists: --dataset labels.csv, columns path and label."""

import codecs
import csv
import os
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data.arrays import Labels, columns, with_empty_training
from wrn3d.data.dataset import SPLIT_NAMES, SPLITS, Dataset
from wrn3d.data.files import read_files, reader_for
from wrn3d.data.grids import Grid
from wrn3d.data.listing import Listing
from wrn3d.data.splitting import Fold, default_splits, held_out
from wrn3d.data.windows import Window
from wrn3d.system.errors import DataError, UsageError, printable, quoted, reason, visible
from wrn3d.system.files import require_file
from wrn3d.system.words import counted

PATH, LABEL, SPLIT, GROUP = "path", "label", "split", "group"
FILES = "files.csv"  # in a run's folder: the table of its splits
SPLIT_WORDS = {  # as people write them
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}


class Row(NamedTuple):
    """A line of a table: its number, the file, and the texts in the other columns, if any."""

    line: int
    path: Path
    label: str
    split: str
    group: str


def load(
    path: Path,
    volume_size: int | None = None,
    window: Window | None = None,
    grid: Grid | None = None,
    fold: Fold | None = None,
    class_names: Sequence[str] = (),
    only_split: str | None = None,
) -> Dataset:
    """Load the files that the table at `path` lists, in its order; arrays are not resized.

    Its columns are `path`, relative to the table, and `label`; it may have `split` (train, val,
    test) and `group`, such as the patient, and others, which are ignored. Without `split`,
    `default_splits` decides; with `only_split`, all files then are of that split, and the table
    needs no training files. Classes are the `class_names`, or else the labels, sorted as numbers if
    all are whole numbers. With a `fold`, its files validate, and all others train that are not of
    the split test. Scans get the `grid`, or else one that the training and validation files decide
    on.

    Raises MissingDataError if the table does not exist, and DataError if it or a file is unfit.
    """
    require_file(path, "dataset has to name a table with the columns path and label")
    rows = _existing(path, _rows(path))
    names = tuple(class_names) or _class_names(path, rows)
    _check_labels(path, rows, names)
    labels = np.array([names.index(row.label) for row in rows], np.int64)
    listing = Listing.of([row.path for row in rows], [row.group for row in rows])
    if only_split and not any(row.split for row in rows):
        splits = np.full(len(rows), only_split)
    else:
        splits = _splits(path, rows, labels, names, fold, listing.group_numbers)
    if not only_split:
        _check_training(path, names, labels[splits == "train"])
    chosen = {name: np.flatnonzero(splits == name) for name in SPLITS if (splits == name).any()}
    files = {name: [rows[place].path for place in places] for name, places in chosen.items()}
    reader = reader_for(files, volume_size, window, grid)
    volumes = read_files(reader, files, str(path))
    arrays = {name: (volumes[name], labels[places]) for name, places in chosen.items()}
    return Dataset(
        path.stem,
        str(path),
        names,
        **columns(with_empty_training(arrays)),
        resizing=reader.resizing,
        spacing=reader.spacing,
        window=window,
        listings={name: listing.only(places) for name, places in chosen.items()},
    )


def _rows(path: Path) -> Iterator[Row]:
    """Yield the lines of a table; raise DataError if it lacks a column, a path or a label."""
    try:
        # Spreadsheets of several countries separate columns in their own way.
        content = path.read_bytes()
        is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        lines = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
        titles = [title.strip().lower() for title in next(lines, [])]
        _check(
            path,
            {PATH, LABEL} <= set(titles),
            f"has the columns {printable(', '.join(titles))}, but needs {PATH} and {LABEL}, and "
            f"may have {SPLIT} and {GROUP}",
        )
        if unread := [title for title in titles if title not in (PATH, LABEL, SPLIT, GROUP)]:
            warnings.warn(
                f"{path}: not read are {printable(', '.join(unread))}; files of one patient stay "
                "in one split if the patient is in a column group",
                stacklevel=2,
            )
        for cells in lines:
            line = dict(zip(titles, map(str.strip, cells), strict=False))
            if not any(line.values()):
                continue
            for name in (PATH, LABEL):
                _check(path, line.get(name), f"has no {name} in line {lines.line_num}")
            file, others = path.parent / line[PATH], (line.get(SPLIT, ""), line.get(GROUP, ""))
            yield Row(lines.line_num, file, line[LABEL], *others)
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({reason(error)})") from error


def _existing(path: Path, rows: Iterable[Row]) -> list[Row]:
    """Return the rows as a list.

    Raises DataError if a file is missing or listed twice, or if only some lines have a group.
    """
    found: dict[Path, Row] = {}
    missing: list[Row] = []
    count = 0
    for row in rows:
        if not os.path.exists(row.path):
            count, missing = count + 1, missing or [row]
            continue
        before = found.setdefault(row.path.resolve(), row)
        _check(
            path,
            before is row,
            f"lists {row.path} in line {before.line} and in line {row.line}: delete one",
        )
    without = next((row for row in found.values() if not row.group), None)
    _check(
        path,
        without is None or not any(row.group for row in found.values()),
        f"has no group in line {without.line if without else 0}: name one in each line, or in none",
    )
    if missing:
        raise DataError(
            f"{path} lists {counted(count, 'file')} that cannot be found, such as "
            f"{visible(str(missing[0].path))} in line {missing[0].line}: paths are relative to the "
            "table"
        )
    _check(path, found, "has no lines: list a file in each, below the columns path and label")
    return list(found.values())


def _class_names(path: Path, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the labels in order; raise DataError for fewer than two, or for one that is unique."""
    counts = Counter(row.label for row in rows)
    _check(path, len(counts) > 1, f"has only one label, {quoted(rows[0].label)}: give two or more")
    lone = next((row for row in rows if counts[row.label] == 1), rows[0])
    _check(
        path,
        counts[lone.label] > 1,
        f"has the label {quoted(lone.label)} in line {lone.line} alone ({lone.path}): correct it, "
        "or add files of that class",
    )
    are_numbers = all(label.isdecimal() for label in counts)
    return tuple(sorted(counts, key=int if are_numbers else None))


def _check_labels(path: Path, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Raise DataError for a label that is none of the names."""
    for row in rows:
        _check(
            path,
            row.label in names,
            f"has the label {quoted(row.label)} in line {row.line}, but the classes are "
            f"{', '.join(map(quoted, names))}: correct it, or leave the line out",
        )


def _splits(
    path: Path,
    rows: Sequence[Row],
    labels: Labels,
    names: Sequence[str],
    fold: Fold | None,
    groups: npt.NDArray[np.int64],
) -> npt.NDArray[np.str_]:
    """Return the split of each line: as the table, a `fold` or `default_splits` says.

    Raises DataError for other names of splits, for groups in two of them, and for classes with
    fewer groups than folds or splits need.
    """
    if any(row.split for row in rows):
        splits = _given_splits(path, rows)
    elif fold:
        splits = np.full(len(rows), "train", "<U10")
    else:
        try:
            return default_splits(labels, groups, names)
        except UsageError as error:
            raise DataError(f"{path} has no column split, and {error}") from error
    if fold:
        others = splits != "test"
        try:
            inside = held_out(labels[others], groups[others], fold, names)
        except UsageError as error:
            raise DataError(f"{path} cannot be cut into folds: {error}") from error
        splits[others] = np.where(inside, "validation", "train")
    return splits


def _given_splits(path: Path, rows: Sequence[Row]) -> npt.NDArray[np.str_]:
    """Return the split of each line as the table says; raise DataError as `_splits` does."""
    first: dict[str, Row] = {}
    splits = []
    for row in rows:
        split = SPLIT_WORDS.get(row.split.lower())
        _check(
            path,
            split,
            f"has the split {quoted(row.split)} in line {row.line}: write train, val or test",
        )
        splits.append(split)
        if row.group:
            before = first.setdefault(row.group, row)
            _check(
                path,
                SPLIT_WORDS[before.split.lower()] == split,
                f"has the group {quoted(row.group)} in two splits ({before.path} in line "
                f"{before.line}, {row.path} in line {row.line}): keep each group in one",
            )
    return np.array(splits)


def _check_training(path: Path, names: Sequence[str], labels: Labels) -> None:
    """Raise DataError if a class has no training file."""
    missing = sorted(set(range(len(names))) - set(labels.tolist()))
    _check(
        path,
        not missing,
        f"has no training file with the label {quoted(names[missing[0]]) if missing else ''}: add "
        "one, or change the column split",
    )


def _check(path: Path, condition: object, message: str) -> None:
    if not condition:
        raise DataError(f"{path} {visible(message)}")


def file_rows(dataset: Dataset) -> Iterator[Sequence[str]]:
    """Yield the rows of a table of a data set's files, with their classes, splits and groups."""
    yield PATH, LABEL, SPLIT, GROUP
    for split, listing in dataset.listings.items():
        names = [dataset.class_names[label] for label in dataset.split(split)[1]]
        for file, name, group in zip(listing.files, names, listing.groups, strict=True):
            yield file, name, SPLIT_NAMES[split], group


def files_and_groups(path: Path, splits: Container[str]) -> tuple[set[str], set[str]]:
    """Return the paths of the files that a table lists in some splits, resolved, and their groups.

    Raises DataError if it cannot be read.
    """
    rows = [row for row in _rows(path) if SPLIT_WORDS.get(row.split.lower()) in splits]
    return {str(row.path.resolve()) for row in rows}, {row.group for row in rows if row.group}
