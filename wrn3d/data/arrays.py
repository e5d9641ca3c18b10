"""Convert a caller's arrays to volumes, labels and class names; raise UsageError if invalid."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn3d.system.checks import require
from wrn3d.system.errors import UsageError, quoted, reason

Volumes = npt.NDArray[np.uint8]  # (N, D, H, W, C)
Labels = npt.NDArray[np.int64]  # (N,)

MOST_CHANNELS = 4  # of an image: a longer last axis is probably the width of a volume
SCALING = "(images - low) / (high - low), with the same low and high for every split"


def as_array(name: str, values: npt.ArrayLike | None) -> npt.NDArray[Any]:
    """Return `values` as an array; raise UsageError if NumPy cannot convert them."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} cannot be converted to an array ({reason(error)})") from error


def as_volumes(images: npt.NDArray[np.uint8]) -> Volumes:
    """Return images (N, H, W, C) as volumes of depth 1, (N, 1, H, W, C)."""
    return np.ascontiguousarray(images).reshape(len(images), 1, *images.shape[1:])


def to_volumes(name: str, images: npt.ArrayLike | None) -> Volumes:
    """Copy images (N, H, W), (N, H, W, C) or (N, D, H, W, C) to uint8 volumes (N, D, H, W, C).

    uint8 stays unchanged. Floating point in [0, 1] is scaled to 255 and rounded. Raises UsageError
    for other types and shapes, for values outside [0, 1] and for NaN.
    """
    array = as_array(name, images)
    require(
        array.ndim in (3, 4, 5) and array.size > 0,
        f"{name} have the shape {array.shape}, but must be (N, H, W), (N, H, W, C) or "
        "(N, D, H, W, C) with at least one image",
    )
    if array.ndim == 3:
        array = array[..., None]
    require(
        array.ndim == 5 or array.shape[-1] <= MOST_CHANNELS,
        f"{name} have the shape {array.shape}, but four axes mean (N, H, W, C) with at most "
        f"{MOST_CHANNELS} channels: for volumes (N, D, H, W) pass images[..., None], for images "
        "(N, C, H, W) pass np.moveaxis(images, 1, -1)",
    )
    pixels = np.array(array, order="C") if array.dtype == np.uint8 else _scaled(name, array)
    return as_volumes(pixels) if pixels.ndim == 4 else pixels


def _scaled(name: str, images: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return floating-point images in [0, 1] as uint8 from 0 to 255."""
    require(
        images.dtype.kind == "f",
        f"{name} are {images.dtype}, but must be uint8 or floating point in [0, 1]: pass values "
        f"from 0 to 255 as images.astype(np.uint8), others as {SCALING}",
    )
    low, high = images.min(), images.max()
    require(not np.isnan(low), f"{name} contain NaN: replace them, such as by np.nan_to_num")
    require(
        low >= 0 and high <= 1,
        f"{name} run from {low:g} to {high:g}, but floating-point images must lie in [0, 1]: pass "
        f"{SCALING}",
    )
    pixels = np.empty(images.shape, np.uint8)
    for image, target in zip(images, pixels, strict=True):  # one at a time, to save memory
        target[...] = np.rint(image.astype(np.float64) * 255)
    return pixels


def to_labels(name: str, labels: npt.ArrayLike | None, count: int) -> Labels:
    """Copy labels, (count,) or (count, 1) integers from 0 up, to (count,) int64.

    Raises UsageError for other shapes, types and numbers.
    """
    array = as_array(name, labels)
    advice = ": pass one-hot rows as labels.argmax(axis=1)" if array.ndim == 2 else ""
    require(
        array.dtype.kind in "iu" and array.shape in ((count,), (count, 1)),
        f"{name} are {array.dtype} of the shape {array.shape}, but must be {count:,} whole "
        f"numbers, one for each image{advice}",
    )
    require(array.min() >= 0, f"{name} go down to {array.min()}, but must be 0 or greater")
    return array.reshape(-1).astype(np.int64)


def to_split(
    name: str, images: npt.ArrayLike | None, labels: npt.ArrayLike | None
) -> tuple[Volumes, Labels]:
    """Copy the images and labels of the split `name`; raise UsageError if they are invalid."""
    require(
        images is not None and labels is not None,
        f"{name}_images and {name}_labels go together: give both or neither",
    )
    volumes = to_volumes(f"{name}_images", images)
    return volumes, to_labels(f"{name}_labels", labels, len(volumes))


def check_same_shape(volumes: Iterable[Volumes]) -> None:
    """Raise UsageError unless the volumes of all splits have one shape (D, H, W, C)."""
    shapes = sorted({split.shape[1:] for split in volumes})
    require(
        len(shapes) == 1,
        f"the images of the splits have different sizes: {', '.join(map(str, shapes))}",
    )


def numbered_classes(train_labels: Labels, *other_labels: Labels) -> tuple[str, ...]:
    """Return the names "0", "1", ... of the classes 0 to the largest label.

    Raises UsageError if there are fewer than two, or if one has no training sample.
    """
    count = 1 + max(int(labels.max()) for labels in (train_labels, *other_labels))
    present = np.unique(train_labels)
    require(
        2 <= count == len(present),
        f"no training label is {np.count_nonzero(present == np.arange(len(present)))}: number two "
        "or more classes from 0 without gaps, or give Dataset.from_arrays their class_names",
    )
    return tuple(map(str, range(count)))


def named_classes(class_names: Iterable[str], *labels: Labels) -> tuple[str, ...]:
    """Return `class_names` as a tuple.

    Raises UsageError unless they are two or more different strings, one for each label.
    """
    names = tuple(np.asarray(class_names, object).ravel())
    require(
        all(isinstance(name, str) for name in names) and len(set(names)) == len(names) > 1,
        f"class_names is {quoted(class_names)}, but must be two or more different texts",
    )
    largest = max(int(split.max()) for split in labels)
    require(
        largest < len(names),
        f"labels go up to {largest}, but class_names has only {len(names)}, for the labels 0 to "
        f"{len(names) - 1}",
    )
    return tuple(map(str, names))
