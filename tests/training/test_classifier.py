"""A trained network reads files as the data set's files were read."""

import numpy as np
import pytest

from tests.support.environments import small_environment
from tests.support.scan_files import write_scan
from wrn3d import Dataset
from wrn3d.predict import Classifier
from wrn3d.system.errors import DataError

LABELS = np.arange(20) % 2


def volumes_of(kind, seed=0):
    low, high = (-900, 900) if np.dtype(kind).kind != "u" else (0, 250)
    return np.random.default_rng(seed).integers(low, high, (20, 6, 8, 7)).astype(kind)


def saved_classifier(path, **settings):
    """Save an untrained network; return its environment and the classifier that reads it."""
    env = small_environment("keras", batch_size=4, **settings)
    env.save(path)
    return env, Classifier(path)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.float32])
def test_numbers_are_read_as_they_are(tmp_path, kind):
    volumes = volumes_of(kind)
    data = Dataset.from_arrays(volumes[..., None], LABELS)
    env, classifier = saved_classifier(tmp_path / "a.safetensors", data=data)
    np.save(tmp_path / "a.npy", volumes[3].astype(np.float64))
    volume = classifier.read(tmp_path / "a.npy")
    assert volume.dtype == kind and np.array_equal(volume[..., 0], volumes[3])
    logits = env.predict(env.dataset.normalise(volume[None]))
    assert np.allclose(classifier.logits(classifier.normalise(volume[None])), logits, atol=1e-5)
    np.save(tmp_path / "b.npy", volumes[3].astype(np.uint8))
    with pytest.raises(DataError, match="b.npy holds uint8, but the network was trained on "):
        classifier.read(tmp_path / "b.npy")


@pytest.mark.parametrize("window", [(-100, 400), ("5%", "95%")])
def test_a_window_is_remembered(tmp_path, window):
    volumes = volumes_of(np.int16)
    data = Dataset.from_arrays(volumes[..., None], LABELS)
    env, classifier = saved_classifier(tmp_path / "a.safetensors", data=data, window=window)
    for name, kind in (("a.npy", np.int16), ("b.npy", np.float64)):
        np.save(tmp_path / name, volumes[3].astype(kind))
        assert np.array_equal(classifier.read(tmp_path / name), env.dataset.train_volumes[3])
    assert env.dataset.train_volumes.dtype == np.uint8
    np.save(tmp_path / "c.npy", volumes[3] * 0)
    with pytest.raises(DataError, match="leaves nothing of .*c.npy, whose intensities run from 0"):
        classifier.read(tmp_path / "c.npy")


@pytest.mark.parametrize("window", [None, (-500, 500)])
@pytest.mark.parametrize("size", [None, 6])
def test_scans_come_to_the_grid_of_the_training_data(tmp_path, size, window):
    volumes, lines = volumes_of(np.int16), ["path,label,split"]
    for row, voxels in enumerate(volumes):
        write_scan(tmp_path / f"{row}.nii.gz", voxels, (2, 1, 1), "LPS")
        lines.append(f"{row}.nii.gz,{LABELS[row]},{'test' if row < 4 else 'train'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    env, classifier = saved_classifier(
        *(tmp_path / "a.safetensors",),
        **{"dataset": str(tmp_path / "labels.csv"), "volume_size": size, "window": window},
    )
    for row in range(4):
        expected = env.dataset.test_volumes[row]
        for name in (f"{row}.nii.gz", "other.nrrd"):
            write_scan(tmp_path / "other.nrrd", volumes[row], (2, 1, 1), "SAR")
            assert np.array_equal(classifier.read(tmp_path / name), expected)
    # Twice as many voxels along the depth, each half as long: the same scan but for blurring.
    write_scan(tmp_path / "fine.mha", np.repeat(volumes[0], 2, axis=0), (1, 1, 1))
    volume = classifier.read(tmp_path / "fine.mha")
    assert volume.shape == env.spec.input_shape and volume.dtype == env.dataset.test_volumes.dtype
    assert np.corrcoef(volume.ravel(), env.dataset.test_volumes[0].ravel())[0, 1] > 0.9


def test_a_network_without_spacing_takes_scans_of_its_proportions(tmp_path):
    volumes = volumes_of(np.uint8)
    data = Dataset.from_arrays(volumes[..., None], LABELS)
    _, classifier = saved_classifier(tmp_path / "a.safetensors", data=data)
    write_scan(tmp_path / "a.nii", volumes[0], orientation="LPS")
    assert np.array_equal(classifier.read(tmp_path / "a.nii")[..., 0], volumes[0])
    write_scan(tmp_path / "b.nii", volumes[0][:4])
    with pytest.raises(DataError, match=r"b.nii does not fit the network \(it has the shape \(4, "):
        classifier.read(tmp_path / "b.nii")
