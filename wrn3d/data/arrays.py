"""Convert a caller's arrays to volumes, labels and class names; raise UsageError if invalid."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn3d.data.voxels import Voxels, as_voxels, common_type, share_a_unit
from wrn3d.system.checks import require
from wrn3d.system.errors import UsageError, quoted, reason

Volumes = Voxels  # (N, D, H, W, C)
Labels = npt.NDArray[np.int64]  # (N,)

CHANNELS = (1, 3)  # of images in files
MOST_CHANNELS = 4  # of an image: a longer last axis is probably the width of a volume


def as_array(name: str, values: Any, dtype: type | None = None) -> npt.NDArray[Any]:
    """Return `values`, an array, a tensor or lists, as an array, of `dtype` if it is given.

    Raises UsageError if they cannot be converted or have masked values.
    """
    masked = np.ma.is_masked(values)
    require(not masked, f"{name} have masked values: replace them, such as by {name}.filled(0)")
    try:
        if str(getattr(values, "dtype", "")) == "torch.bfloat16":
            values = values.float()  # PyTorch does not convert bfloat16 to NumPy
        return np.asarray(values, dtype)
    except Exception as error:  # each library raises its own, such as PyTorch a RuntimeError
        raise UsageError(
            f"{name} cannot be converted to an array ({reason(error)}): pass a NumPy array, such "
            "as tensor.detach().cpu().numpy()"
        ) from error


def as_volumes(images: Voxels) -> Volumes:
    """Return images (N, H, W, C) as volumes of depth 1, (N, 1, H, W, C)."""
    return np.ascontiguousarray(images).reshape(len(images), 1, *images.shape[1:])


def to_volumes(name: str, images: npt.ArrayLike | None) -> Volumes:
    """Return images (N, H, W), (N, H, W, C) or (N, D, H, W, C) as volumes (N, D, H, W, C).

    `as_voxels` decides on their type. Raises UsageError for other types and shapes, and for NaN.
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
    voxels = as_voxels(name, array)
    return as_volumes(voxels) if voxels.ndim == 4 else np.ascontiguousarray(voxels)


def check_channels_last(name: str, shape: Sequence[int]) -> None:
    """Raise UsageError for five axes that look like (N, C, D, H, W): a short second, a long last.

    A second axis of 1 is a depth, unless the last axis is as long as another side.
    """
    second, *sides, last = shape[1:]
    first = 1 if last in sides else 2
    if len(shape) == 5 and first <= second <= MOST_CHANNELS < last:
        raise UsageError(
            f"{name} have the shape {tuple(shape)}, which looks like (N, C, D, H, W): move the "
            "channels last with np.moveaxis(images, 1, -1)"
        )


def images_of_file(name: str, images: npt.ArrayLike) -> Volumes:
    """Return images (N, H, W) or (N, D, H, W), perhaps with 1 or 3 channels, as volumes.

    Unlike in `to_volumes`, four axes are volumes unless the last one is 1 or 3. Raises UsageError
    for types that `as_voxels` refuses, and for shapes that may mean something else.
    """
    array = as_array(name, images)
    require(
        array.ndim in (3, 4, 5),
        f"{name} have the shape {array.shape}, but must be (N, H, W) or (N, D, H, W), with or "
        "without channels",
    )
    is_volume = array.ndim == 4 and array.shape[-1] not in CHANNELS
    if is_volume:
        _check_no_channels(name, array.shape)
    if is_volume or array.ndim == 3:
        array = array[..., None]
    volumes = to_volumes(name, array)
    check_channels_last(name, array.shape)
    require(volumes.shape[-1] in CHANNELS, f"{name} have {volumes.shape[-1]} channels, not 1 or 3")
    return volumes


def _check_no_channels(name: str, shape: tuple[int, ...]) -> None:
    """Raise UsageError if the first or the last axis of (N, D, H, W) is plausibly channels."""
    _, depth, height, width = shape
    if 1 < depth <= MOST_CHANNELS < min(height, width):
        axes, advice = "(N, C, H, W)", "move the channels last with np.moveaxis(images, 1, -1)"
    elif width <= MOST_CHANNELS < min(depth, height):
        axes, advice = "(N, H, W, C)", "keep 1 or 3 channels"
    else:
        return
    raise UsageError(
        f"{name} have the shape {shape}, which looks like {axes}: {advice}, or add an axis to "
        "volumes with images[..., None]"
    )


def own_images(
    name: str, images: npt.ArrayLike, shape: tuple[int, ...], kind: npt.DTypeLike
) -> Volumes:
    """Return `to_volumes(name, images)` for data of `shape` (D, H, W, C) and the type `kind`.

    For bytes, floating point in [0, 1] is scaled to 255 and rounded. Raises UsageError for another
    shape, and for numbers that cannot have the same unit as the data's.
    """
    volumes, kind = to_volumes(name, images), np.dtype(kind)
    check_shape(name, volumes, [shape])
    if kind == np.uint8 and volumes.dtype == np.float32:
        volumes = _scaled(name, volumes)
    require(
        share_a_unit([volumes.dtype, kind]),
        f"{name} are {volumes.dtype}, but the training data are {kind}: pass numbers of the same "
        f"unit as {kind}",
    )
    return volumes


def check_shape(name: str, volumes: npt.NDArray[Any], shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise UsageError unless `volumes` are (N, D, H, W, C), not empty, with one of `shapes`."""
    require(
        volumes.shape[1:] in shapes and len(volumes) > 0,
        f"{name} have the shape {volumes.shape}, but must be "
        + " or ".join(f"(N, {', '.join(map(str, shape))})" for shape in shapes)
        + " with N from 1 up",
    )


def _scaled(name: str, images: Voxels) -> Voxels:
    """Return floating-point images in [0, 1] as uint8 from 0 to 255."""
    low, high = float(images.min()), float(images.max())
    require(
        low >= 0 and high <= 1,
        f"{name} run from {low:g} to {high:g}, but the training data are bytes: pass uint8 from 0 "
        "to 255, or floating point in [0, 1]",
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
    images = as_array(f"{name}_images", images)
    volumes = to_volumes(f"{name}_images", images)
    check_channels_last(f"{name}_images", images.shape)
    if np.may_share_memory(volumes, images):
        volumes = volumes.copy()
    return volumes, to_labels(f"{name}_labels", labels, len(volumes))


def alike(splits: Mapping[str, tuple[Volumes, Labels]]) -> dict[str, tuple[Volumes, Labels]]:
    """Return the splits with volumes of one type, if their numbers can have one unit.

    Raises UsageError for different shapes (D, H, W, C), and for bytes beside other numbers.
    """
    shapes = sorted({volumes.shape[1:] for volumes, _ in splits.values()})
    require(
        len(shapes) == 1,
        f"the images of the splits have different sizes: {', '.join(map(str, shapes))}",
    )
    kinds = {volumes.dtype for volumes, _ in splits.values()}
    require(
        share_a_unit(kinds),
        f"the images of the splits have different types: {', '.join(sorted(map(str, kinds)))}",
    )
    kind = common_type(kinds)
    return {
        name: (volumes.astype(kind, copy=False), labels)
        for name, (volumes, labels) in splits.items()
    }


def with_empty_training(
    splits: Mapping[str, tuple[Volumes, Labels]],
) -> dict[str, tuple[Volumes, Labels]]:
    """Return the splits, with an empty training split if they have none."""
    volumes, labels = next(iter(splits.values()))
    return {"train": (volumes[:0], labels[:0]), **splits}


def columns(splits: Mapping[str, tuple[Volumes, Labels]]) -> dict[str, Any]:
    """Return {split: (volumes, labels)} as the fields train_volumes, train_labels, ..."""
    return {
        f"{name}_{kind}": array
        for name, split in splits.items()
        for kind, array in zip(("volumes", "labels"), split, strict=True)
    }


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
    names = tuple(as_array("class_names", class_names, object).ravel())
    require(
        all(isinstance(name, str) for name in names) and len(set(names)) == len(names) > 1,
        f"class_names is {quoted(class_names)}, but must be two or more different texts",
    )
    largest = max(int(split.max()) for split in labels if len(split))
    require(
        largest < len(names),
        f"labels go up to {largest}, but class_names has only {len(names)}, for the labels 0 to "
        f"{len(names) - 1}",
    )
    return tuple(map(str, names))
