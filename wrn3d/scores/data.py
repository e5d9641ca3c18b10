"""Find the data to measure a trained network on: its own, or others that fit it."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from wrn3d.data.dataset import Dataset
from wrn3d.data.load import NPZ, TABLE, load_dataset
from wrn3d.data.splitting import Fold
from wrn3d.data.table import FILES, files_and_groups
from wrn3d.runs.record import RUN
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, MissingDataError, quoted
from wrn3d.training.checkpoint import checkpoint_file
from wrn3d.training.classifier import Classifier
from wrn3d.training.config import DATA, WINDOW
from wrn3d.training.ensemble import MEMBERS


def data_for(
    classifier: Classifier, path: Path, name: str | None, data_dir: Path, split: str
) -> tuple[Dataset, bool]:
    """Return the data set with a name or path, by default the one that a network was trained on.

    `path` is the network's. The flag says whether these are the data that it was trained on. Raises
    what `own_data` and `other_data` raise; a table that has changed since is refused, as its splits
    may be others. Warns of classes with other names, and of files that the run was trained on.
    """
    dataset, is_own = _find(classifier, path, name, data_dir, split)
    if list(dataset.class_names) != list(classifier.class_names):
        warnings.warn(
            f"{dataset.title} has the classes {_some(dataset.class_names)}, but the network knows "
            f"{_some(classifier.class_names)}",
            stacklevel=2,
        )
    if not is_own:
        _warn_of_training_files(dataset, split, path)
    return dataset, is_own


def _find(
    classifier: Classifier, path: Path, name: str | None, data_dir: Path, split: str
) -> tuple[Dataset, bool]:
    is_same = name is None or _is_same(name, classifier.settings.get("dataset"))
    if name is None or is_same or name.endswith(TABLE):  # a table may have moved
        try:
            return own_data(classifier, path, data_dir, name), True
        except DataError:
            if name is None or (is_same and name.endswith(TABLE)):
                raise
    return other_data(classifier, name, data_dir, split)


def _is_same(name: str, other: object) -> bool:
    return isinstance(other, str) and Path(name).resolve() == Path(other).resolve()


def own_data(
    classifier: Classifier, path: str | Path, data_dir: str | Path, name: str | None = None
) -> Dataset:
    """Load the data set that a network was trained on, with its validation split.

    `path` is the network's file, `name` where the data are now, if they have moved. An .npz file
    may also be in `data_dir`. Raises DataError if the data cannot be told or found, or differ.
    """
    settings = classifier.settings
    name = name or str(settings.get("dataset"))
    if (beside := Path(data_dir, name)).is_file():
        name = str(beside)
    advice = "measure it on other data, with wrn3d.evaluate and --dataset"
    if (files := checkpoint_file(path).with_name(FILES)).is_file():
        advice += f", such as {files}, the files of its splits"
    try:
        dataset = load_dataset(
            name,
            data_dir,
            volume_size=settings.get("volume_size"),
            window=settings.get(WINDOW),
            class_names=settings.get("class_names", ()),
            fold=Fold(settings["fold"], settings["folds"]) if settings.get("folds") else None,
        )
    except (ValueError, MissingDataError) as error:
        raise DataError(
            f"{path} was trained on {name}, which cannot be loaded ({error}): {advice}"
        ) from error
    if settings.get(DATA) != dataset.fingerprint:
        raise DataError(f"{dataset.origin} holds other data than {path} was trained on: {advice}")
    return dataset.with_validation(settings.get("validation", 0))


def other_data(
    classifier: Classifier, name: str, data_dir: str | Path, split: str
) -> tuple[Dataset, bool]:
    """Load a data set in the network's size.

    A table without splits is loaded as `split`; a file needs only that one. Returns the data set,
    and whether it is the one that the network was trained on. Raises UsageError if it does not fit
    the network.
    """
    shape, names = classifier.spec.input_shape, classifier.class_names
    dataset = load_dataset(
        name,
        data_dir,
        volume_size=max(shape[:3]),
        window=classifier.settings.get(WINDOW),
        class_names=names if name.endswith((NPZ, TABLE)) else (),
        grid=classifier.network.grid,
        only_split=split,
    )
    require(
        dataset.volume_shape == shape and len(dataset.class_names) == len(names),
        f"{dataset.title} has volumes {dataset.volume_shape} and {len(dataset.class_names)} "
        f"classes, but the network is for {shape} and {len(names)}: name other data with --dataset",
    )
    is_own = dataset.fingerprint == classifier.settings.get(DATA)
    count = classifier.settings.get("validation", 0) if is_own else 0
    return dataset.with_validation(count), is_own


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names[:3])) + (", ..." if len(names) > 3 else "")


def _warn_of_training_files(dataset: Dataset, split: str, path: Path) -> None:
    """Warn of files that were in a run's training or validation split, by path or group."""
    listing = dataset.listings.get(split)
    folder = next(iter(sorted(path.glob(MEMBERS))), path)  # all folds have the same files
    record = checkpoint_file(folder).with_name(FILES)
    if listing is None or not record.with_name(RUN).is_file() or not record.is_file():
        return
    files, groups = files_and_groups(record, ("train", "validation"))
    seen = sum(
        str(Path(file).resolve()) in files or group in groups
        for file, group in zip(listing.files, listing.groups, strict=True)
    )
    if seen:
        warnings.warn(
            f"{seen:,} of the {len(listing.files):,} files, or files of groups with the same name, "
            f"were in the run's training or validation split ({record}): the scores are optimistic",
            stacklevel=3,
        )
