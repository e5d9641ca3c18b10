"""Files come to a trained network as the data set's files came to the training."""

import numpy as np
import pytest
import SimpleITK as sitk

from tests.support.scan_files import write_scan
from wrn3d import Dataset, WideResNetSpec, load_dataset
from wrn3d.data.grids import Grid, Scan, on_grid
from wrn3d.data.windows import parsed
from wrn3d.system.errors import DataError
from wrn3d.training.inputs import read_input
from wrn3d.training.trained import TrainedNetwork

LABELS = np.arange(20) % 2


def volumes_of(kind, seed=0):
    low, high = (-900, 900) if np.dtype(kind).kind != "u" else (0, 250)
    return np.random.default_rng(seed).integers(low, high, (20, 6, 8, 7)).astype(kind)


def trained_on(data):
    """Return what a checkpoint of a run on the data set records."""
    spec = WideResNetSpec(10, 1, num_classes=2, input_shape=data.volume_shape)
    normalisation = data.mean, data.std.reshape(1)
    prepared = data.train_volumes.dtype, data.resizing, data.spacing, data.window
    return TrainedNetwork(spec, list(data.class_names), "float32", *normalisation, *prepared)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.float32])
def test_numbers_are_read_as_they_are(tmp_path, kind):
    volumes = volumes_of(kind)
    network = trained_on(Dataset.from_arrays(volumes[..., None], LABELS))
    np.save(tmp_path / "a.npy", volumes[3].astype(np.float64))
    volume = read_input(network, tmp_path / "a.npy").volume
    assert volume.dtype == kind and np.array_equal(volume[..., 0], volumes[3])
    np.save(tmp_path / "b.npy", volumes[3].astype(np.uint8))
    with pytest.raises(DataError, match="b.npy holds uint8, but the network was trained on "):
        read_input(network, tmp_path / "b.npy")


@pytest.mark.parametrize("window", [(-100, 400), ("5%", "95%")])
def test_a_window_is_remembered(tmp_path, window):
    volumes = volumes_of(np.int16)
    data = Dataset.from_arrays(volumes[..., None], LABELS).windowed(parsed(window))
    network = trained_on(data)
    for name, kind in (("a.npy", np.int16), ("b.npy", np.float64)):
        np.save(tmp_path / name, volumes[3].astype(kind))
        found = read_input(network, tmp_path / name)
        assert np.array_equal(found.volume, data.train_volumes[3])
        assert np.array_equal(found.original[..., 0], volumes[3])
    np.save(tmp_path / "c.npy", volumes[3] * 0 + 999)
    with pytest.raises(
        DataError, match="leaves nothing of .*c.npy, whose intensities run from 999"
    ):
        read_input(network, tmp_path / "c.npy")


@pytest.mark.parametrize("window", [None, (-500, 500)])
@pytest.mark.parametrize("size", [None, 6])
def test_scans_come_to_the_grid_of_the_training_data(tmp_path, size, window):
    volumes, lines = volumes_of(np.int16), ["path,label,split"]
    for row, voxels in enumerate(volumes):
        write_scan(tmp_path / f"{row}.nii.gz", voxels, (2, 1, 1), "LPS")
        lines.append(f"{row}.nii.gz,{LABELS[row]},{'test' if row < 4 else 'train'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    data = load_dataset(tmp_path / "labels.csv", volume_size=size, window=window)
    network = trained_on(data)
    for row in range(4):
        write_scan(tmp_path / "other.nrrd", volumes[row], (2, 1, 1), "SAR")
        for name in (f"{row}.nii.gz", "other.nrrd"):
            found = read_input(network, tmp_path / name)
            assert np.array_equal(found.volume, data.test_volumes[row])
            assert np.array_equal(found.original[..., 0], volumes[row])
        numbers = found.to_original(np.ones(data.volume_shape[:3], np.float32))
        assert numbers.shape == volumes[row].shape
    # Twice as many voxels along the depth, each half as long: the same scan but for blurring.
    write_scan(tmp_path / "fine.mha", np.repeat(volumes[0], 2, axis=0), (1, 1, 1))
    volume = read_input(network, tmp_path / "fine.mha").volume
    assert volume.shape == data.volume_shape and volume.dtype == data.test_volumes.dtype
    assert np.corrcoef(volume.ravel(), data.test_volumes[0].ravel())[0, 1] > 0.9


def test_one_slice_is_no_volume(tmp_path):
    volumes = volumes_of(np.int16)
    network = trained_on(Dataset.from_arrays(volumes[..., None], LABELS))
    write_scan(tmp_path / "a.nii", volumes[0][:1])
    with pytest.raises(DataError, match="a.nii has one slice, but the network takes volumes: name"):
        read_input(network, tmp_path / "a.nii")


def test_other_channels_are_refused(tmp_path):
    volumes, lines = volumes_of(np.uint8), ["path,label,split"]
    for row, voxels in enumerate(volumes):
        write_scan(tmp_path / f"{row}.nii", voxels)
        lines.append(f"{row}.nii,{LABELS[row]},train")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    network = trained_on(load_dataset(tmp_path / "labels.csv"))
    image = sitk.GetImageFromArray(np.stack([volumes[0]] * 3, -1), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "rgb.nrrd"))
    with pytest.raises(DataError, match="rgb.nrrd does not fit the network"):
        read_input(network, tmp_path / "rgb.nrrd")


def test_a_scan_of_an_impossible_size_is_refused(tmp_path):
    grid, huge = Grid((48, 48, 48), (1, 1, 1)), Grid((4, 6, 5), (1e5, 1e5, 1e5))
    with pytest.raises(DataError, match="a scan with 4x6x5 voxels of 1e.05x1e.05x1e.05 mm would"):
        on_grid(Scan(np.zeros((4, 6, 5, 1), np.int16), huge), grid, np.int16)


def test_a_network_without_spacing_takes_scans_of_its_proportions(tmp_path):
    volumes = volumes_of(np.uint8)
    network = trained_on(Dataset.from_arrays(volumes[..., None], LABELS))
    write_scan(tmp_path / "a.nii", volumes[0], orientation="LPS")
    assert np.array_equal(read_input(network, tmp_path / "a.nii").volume[..., 0], volumes[0])
    write_scan(tmp_path / "b.nii", volumes[0][:4])
    with pytest.raises(DataError, match=r"b.nii does not fit the network \(it has the shape \(4, "):
        read_input(network, tmp_path / "b.nii")
