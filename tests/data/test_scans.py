"""Scans: formats, orientation, spacing, the grid of a data set, and unsuitable files."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from tests.support.scan_files import image_of, write_scan, write_series
from wrn3d.data.grids import Grid, Scan, common_grid, off_grid, on_grid
from wrn3d.data.resizing import resize_to
from wrn3d.data.scans import ENDINGS, read_header, read_scan, write_map
from wrn3d.system.errors import DataError

SPACING = (2.5, 0.8, 0.7)
FORMATS = [ending for ending in ENDINGS if ending != ".dcm"]


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-900, 900, (4, 6, 5)).astype(np.int16)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR", "IPL", "ALI"])
@pytest.mark.parametrize("ending", FORMATS)
def test_each_format_and_orientation_gives_the_same_volume(tmp_path, voxels, ending, orientation):
    path = write_scan(tmp_path / f"a{ending}", voxels, SPACING, orientation)
    scan, header = read_scan(path), read_header(path)
    assert np.array_equal(scan.voxels, voxels[..., None]) and scan.voxels.dtype == np.int16
    assert scan.grid.agrees(Grid((4, 6, 5), SPACING)) and header.grid.agrees(scan.grid)
    assert (header.channels, header.kind) == (1, np.int16)


@pytest.mark.parametrize(
    "kind, read, of_header",
    [
        (np.uint8, np.uint8, np.uint8),
        (np.int8, np.int16, np.int16),
        (np.uint16, np.uint16, np.uint16),
        (np.int32, np.int16, np.float32),
        (np.float32, np.float32, np.float32),
        (np.float64, np.float32, np.float32),
    ],
)
def test_numbers_keep_their_values(tmp_path, voxels, kind, read, of_header):
    numbers = np.abs(voxels // 8).astype(kind)
    path = write_scan(tmp_path / "a.nii.gz", numbers)
    scan = read_scan(path)
    assert scan.voxels.dtype == read and np.array_equal(scan.voxels[..., 0], numbers)
    assert read_header(path).kind == of_header


def test_a_dicom_series_is_put_in_the_order_of_its_positions(tmp_path, voxels):
    folder = write_series(tmp_path / "ct", voxels, SPACING)
    scan, header = read_scan(folder), read_header(folder)
    assert np.array_equal(scan.voxels[..., 0], voxels)
    assert scan.grid.agrees(Grid((4, 6, 5), SPACING)) and header.grid.agrees(scan.grid)
    single = read_scan(min(folder.iterdir()))
    assert np.array_equal(single.voxels[0, ..., 0], voxels[-1])


def test_an_image_of_two_dimensions_has_depth_one(tmp_path, voxels):
    sitk.WriteImage(sitk.GetImageFromArray(voxels[0]), str(tmp_path / "a.mha"))
    assert read_scan(tmp_path / "a.mha").voxels.shape == (1, 6, 5, 1)
    assert read_header(tmp_path / "a.mha").grid.sides == (1, 6, 5)


def test_a_fourth_axis_of_one_is_dropped(tmp_path, voxels):
    sitk.WriteImage(sitk.JoinSeries([image_of(voxels)]), str(tmp_path / "a.nii"))
    assert np.array_equal(read_scan(tmp_path / "a.nii").voxels[..., 0], voxels)


def test_files_that_are_no_scan_are_named(tmp_path, voxels):
    scan = image_of(voxels)
    sitk.WriteImage(sitk.JoinSeries([scan, scan]), str(tmp_path / "time.nii"))
    sitk.WriteImage(sitk.Compose([scan, scan]), str(tmp_path / "two.mha"))
    write_scan(tmp_path / "nan.nii", np.where(voxels > 0, np.nan, voxels).astype(np.float32))
    (tmp_path / "text.nii.gz").write_text("no scan")
    (tmp_path / "empty").mkdir()
    write_series(tmp_path / "several", voxels, uid="1.2.3")
    write_series(tmp_path / "several", voxels, uid="1.2.4")
    write_series(tmp_path / "gap", voxels, skip=(1,))
    sentences = {
        "time.nii": "time.nii holds 2 volumes: save each as a file of its own",
        "two.mha": "two.mha has 2 channels, but must have 1 or 3",
        "nan.nii": "the voxels of .*nan.nii contain NaN: replace them",
        "text.nii.gz": r"text.nii.gz cannot be read as a scan \(.* is not recognized as a NIFTI f",
        "absent.nrrd": r"absent.nrrd cannot be read as a scan \(.*No such file",
        "empty": "empty is a folder without DICOM slices: name a file, or a folder with them",
        "several": "several holds 2 DICOM series: give each its own folder",
        "gap": "gap has slices at unequal distances: look for those that are missing",
    }
    for name, sentence in sentences.items():
        with pytest.raises(DataError, match=sentence) as refusal:
            read_scan(tmp_path / name)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("ending", FORMATS)
def test_files_that_are_cut_off_are_refused(tmp_path, voxels, ending, capfd):
    content = write_scan(tmp_path / f"a{ending}", voxels).read_bytes()
    for lost in (1, 9, len(content) // 2, len(content) - 4):
        (tmp_path / f"b{ending}").write_bytes(content[:-lost])
        with pytest.raises(DataError, match=f"b{ending} (is cut off|cannot be read as a scan)"):
            read_scan(tmp_path / f"b{ending}")
    if ending == ".nii.gz":
        whole = gzip.decompress(content)
        (tmp_path / f"b{ending}").write_bytes(gzip.compress(whole[:-3]))
        with pytest.raises(DataError, match="b.nii.gz is cut off or damaged: copy it again"):
            read_scan(tmp_path / f"b{ending}")
    assert capfd.readouterr().err == ""  # what ITK's libraries print


def test_the_grid_of_scans_that_agree_is_their_own():
    one, other = Grid((8, 8, 4), (1, 1, 2)), Grid((8, 8, 4), (1, 1, 2.0004))
    grids = {"a.nii": one, "b.nii": other}
    assert common_grid(grids, None) == one
    grids["c.nii"] = Grid((8, 8, 5), (1, 1, 2))
    with pytest.raises(
        DataError,
        match=r"scans differ in their grid \(a.nii has 8x8x4 voxels of 1x1x2 mm, c.nii has 8x8x5 "
        r"voxels of 1x1x2 mm\): choose the longest side for all with --volume-size",
    ):
        common_grid(grids, None)


def test_a_grid_of_cubes_holds_the_largest_scan_along_each_axis():
    grids = {
        "a.nii": (Grid((10, 40, 40), (3, 1, 1))),
        "b.nii": (Grid((50, 20, 20), (1, 1, 1))),
    }
    assert common_grid(grids, 25) == Grid((25, 20, 20), (2, 2, 2))


def test_on_a_grid_the_centre_stays_and_lengths_keep_their_meaning():
    voxels = np.zeros((8, 16, 16, 1), np.float32)
    voxels[3:5, 6:10, 6:10] = 100  # 4 mm along each axis, at the centre
    scan = Scan(voxels - 50, Grid((8, 16, 16), (2, 1, 1)))
    placed = on_grid(scan, Grid((24, 24, 8), (1, 1, 1)), np.float32)
    assert placed.shape == (24, 24, 8, 1) and placed.dtype == np.float32
    assert (placed[:4] == -50).all() and (placed[20:] == -50).all()  # filled
    inside = placed[..., 0] > 0
    assert [
        np.flatnonzero(inside.any(axis=axes)).tolist() for axes in ((1, 2), (0, 2), (0, 1))
    ] == [
        [10, 11, 12, 13],
        [10, 11, 12, 13],
        [2, 3, 4, 5],
    ]


def test_on_its_own_grid_a_scan_is_unchanged(voxels):
    scan = Scan(voxels[..., None], Grid((4, 6, 5), SPACING))
    assert np.array_equal(on_grid(scan, scan.grid, np.int16), scan.voxels)


def test_on_a_coarser_grid_numbers_are_interpolated_and_rounded(voxels):
    scan = Scan(voxels[..., None], Grid((4, 6, 5), (1, 1, 1)))
    grid = Grid((2, 3, 2), (2, 2, 2))
    expected = resize_to(voxels[None, ..., None].astype(np.float32), (2, 3, 2))[0]
    assert np.array_equal(on_grid(scan, grid, np.float32), expected)
    assert np.array_equal(on_grid(scan, grid, np.int16), np.rint(expected))


def test_a_map_returns_to_the_grid_of_its_scan():
    own, grid = Grid((12, 20, 8), (2, 1, 3)), Grid((12, 12, 12), (2, 2, 2))
    voxels = np.zeros((*own.sides, 1), np.float32)
    voxels[5:7, 9:11, 3:5] = 90
    there = on_grid(Scan(voxels, own), grid, np.float32)[..., 0]
    back = off_grid(there, grid, own)
    assert back.shape == own.sides and np.unravel_index(back.argmax(), own.sides) in [
        (z, y, x) for z in (5, 6) for y in (9, 10) for x in (3, 4)
    ]
    covered = off_grid(np.ones(grid.sides, np.float32), Grid((12, 8, 12), (2, 2, 2)), own)
    assert covered[:, 0].max() == 0 and covered[:, 5:15].min() > 0.99  # 16 of 20 mm


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR"])
def test_a_map_is_written_in_the_geometry_of_its_scan(tmp_path, voxels, orientation):
    path = write_scan(tmp_path / "a.nrrd", voxels, SPACING, orientation)
    write_map(tmp_path / "map.nii.gz", voxels.astype(np.float32), path)
    scan, written = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "map.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(scan), sitk.GetArrayFromImage(written))
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(scan, name)(), getattr(written, name)(), atol=1e-5)
