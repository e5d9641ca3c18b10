"""Crops, flips, cutouts and other sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wrn3d.data.augmentation import AXES, Augmentation
from wrn3d.data.resizing import resize, resize_voxels

SETTINGS = settings(max_examples=50, deadline=None, derandomize=True)
KINDS = st.builds(
    Augmentation,
    st.integers(0, 5),
    st.sets(st.sampled_from(AXES)).map(tuple),
    st.booleans(),
    st.integers(0, 4),
)


@SETTINGS
@given(
    augmentation=KINDS,
    seed=st.integers(0, 99),
    index=st.integers(0, 10**9),
    count=st.integers(1, 20),
    split=st.integers(0, 20),
    epoch=st.integers(0, 9),
)
def test_what_a_sample_becomes_depends_on_its_position_alone(
    augmentation, seed, index, count, split, epoch
):
    random = np.random.default_rng(0)
    volumes = random.standard_normal((count, 3, 8, 9, 2)).astype(np.float32)
    rows, split = random.integers(0, 50, count), min(split, count)
    whole = augmentation(volumes, seed, epoch, index, rows, 50)
    parts = [
        augmentation(volumes[start:end], seed, epoch, index + start, rows[start:end], 50)
        for start, end in ((0, split), (split, count))
        if end > start
    ]
    assert np.array_equal(whole, np.concatenate(parts))
    assert whole.dtype == np.float32 and whole.shape == volumes.shape


def mirrored(volume, axes):
    return np.flip(volume, [AXES.index(name) for name in axes])


@pytest.mark.parametrize("shape", [(1, 8, 9, 2), (6, 5, 7, 1)])
@pytest.mark.parametrize("padding, axes", [(4, ("width",)), (2, ("height", "width")), (0, AXES)])
def test_crops_are_windows_of_the_reflected_volume_plain_or_mirrored(shape, padding, axes):
    volumes = np.random.default_rng(0).standard_normal((300, *shape))
    margins = [(0, 0) if side == 1 else (padding, padding) for side in shape[:3]]
    ways = [
        tuple(name for bit, name in enumerate(axes) if way >> bit & 1)
        for way in range(2 ** len(axes))
    ]
    seen = set()
    for volume, cropped in zip(
        volumes, Augmentation(padding, axes)(volumes, 1, 0, 0, np.arange(300), 300), strict=True
    ):
        padded = np.pad(volume, [*margins, (0, 0)], mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, shape[:3], axis=(0, 1, 2))
        windows = np.moveaxis(windows, 3, -1)
        hits = {
            (way, *hit)
            for way in ways
            for hit in np.argwhere(
                (windows == mirrored(cropped, way)).all(axis=(3, 4, 5, 6))
            ).tolist()
        }
        assert hits
        seen |= hits
    for axis, side in enumerate(shape[:3]):
        assert {hit[axis + 1] for hit in seen} == set(range(2 * padding + 1 if side > 1 else 1))
    assert {hit[0] for hit in seen} == set(ways)


def test_alternate_flips_show_each_sample_from_either_side_in_turn():
    volumes, rows = np.random.default_rng(0).standard_normal((64, 2, 3, 4, 1)), np.arange(64)
    sides = []
    for epoch in range(4):
        flipped = Augmentation(0, ("width",), alternate=True)(volumes, 5, epoch, 0, rows, 64)
        is_plain = (flipped == volumes).all(axis=(1, 2, 3, 4))
        assert np.array_equal(flipped[~is_plain], volumes[~is_plain, :, :, ::-1])
        sides.append(is_plain)
    assert np.array_equal(sides[0], ~sides[1]) and np.array_equal(sides[0], sides[2])
    assert 16 < sides[0].sum() < 48
    both = Augmentation(0, ("height", "width"), alternate=True)
    looks = {epoch: both(volumes, 5, epoch, 0, rows, 64) for epoch in range(4)}
    assert all(len({look[row].tobytes() for look in looks.values()}) == 4 for row in rows)
    some = both(volumes[[7, 3]], 5, 2, 40, rows[[7, 3]], 64)  # whatever else is in the batch
    assert np.array_equal(some, looks[2][[7, 3]])


def test_cutouts_are_whole_squares_anywhere():
    volumes = np.ones((500, 1, 6, 7, 3), np.float32)
    cut = Augmentation(0, (), cutout=3)(volumes, 2, 0, 0, np.arange(500), 500)
    corners = set()
    for volume in cut:
        rows, columns = np.nonzero(volume[0, :, :, 0] == 0)
        assert len(rows) == 9 and np.ptp(rows) == np.ptp(columns) == 2
        assert (volume == 0).sum() == 27
        corners.add((rows.min(), columns.min()))
    assert corners == {(row, column) for row in range(4) for column in range(5)}
    cubes = Augmentation(0, (), cutout=2)(np.ones((20, 4, 4, 4, 1)), 2, 0, 0, np.arange(20), 20)
    assert ((cubes == 0).sum(axis=(1, 2, 3, 4)) == 8).all()


@pytest.mark.parametrize("side", [5, 16, 20, 31, 32, 48])
def test_images_are_resized_as_pytorch_does(digits, side):
    images = digits.train_volumes[:20].astype(np.float32)
    tensors = torch.from_numpy(images[:, 0].transpose(0, 3, 1, 2))
    expected = (
        torch.nn.functional.interpolate(tensors, (side, side), mode="bilinear", antialias=True)
        .numpy()
        .transpose(0, 2, 3, 1)
    )
    found = resize(images, side)
    assert found.shape == (20, 1, side, side, 3) and found.dtype == np.float32
    assert np.abs(found[:, 0] - expected).max() < 1e-3  # of 255: rounding alone


@pytest.mark.parametrize("side", [3, 20, 40])
@pytest.mark.parametrize("shape", [(60, 1, 32, 32, 3), (5, 12, 32, 32, 3), (60, 16, 16, 12, 1)])
def test_what_a_volume_becomes_does_not_depend_on_the_others(digits, shape, side):
    volumes = digits.normalise(digits.train_volumes[:60]).ravel()[: np.prod(shape)].reshape(shape)
    whole = resize(volumes, side)
    assert np.array_equal(whole, np.concatenate([resize(volume[None], side) for volume in volumes]))


def test_volumes_are_resized_along_each_axis_in_proportion():
    volumes = np.random.default_rng(0).random((2, 6, 12, 9, 1)).astype(np.float32)
    found = resize(volumes, 4)
    assert found.shape == (2, 2, 4, 3, 1)
    constant = np.full_like(volumes, 3.5)
    assert np.allclose(resize(constant, 7), 3.5, rtol=1e-6)
    assert np.array_equal(resize(volumes, 12), volumes)
    numbers = (volumes * 255).astype(np.uint8)
    assert np.array_equal(
        resize_voxels(numbers, 4), np.rint(resize(numbers.astype(np.float32), 4)).astype(np.uint8)
    )
