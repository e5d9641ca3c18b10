"""Explained predictions: the files that the command writes, and their contents."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from tests.support.environments import small_environment
from tests.support.processes import run_command
from tests.support.scan_files import write_scan
from wrn3d import Dataset
from wrn3d.data.grids import Grid
from wrn3d.predict import Classifier, explanation
from wrn3d.training.inputs import Input, read_input

LABELS = np.arange(20) % 2


@pytest.fixture
def run(tmp_path):
    """Return a function that saves an untrained network for images (20, D, H, W, C)."""

    def save(images):
        data = Dataset.from_arrays(images, LABELS, class_names=["healthy", "ill"])
        env = small_environment("keras", batch_size=4, data=data)
        for _ in range(3):
            env.step(learning_rate=0.1)
        env.save(tmp_path / "best.safetensors")
        return Classifier(tmp_path)

    return save


def explain(folder, *arguments, said):
    process = run_command("-m", "wrn3d.predict", folder, *arguments, "--explain", cwd=folder)
    assert (process.returncode, process.stderr) == (0, f"explained  {said}\n")


def test_a_picture_gets_an_overlay_and_a_map_of_its_size(run, tmp_path):
    rng = np.random.default_rng(0)
    classifier = run(rng.integers(0, 256, (20, 1, 16, 16, 3)).astype(np.uint8))
    Image.fromarray(rng.integers(0, 256, (40, 30, 3)).astype(np.uint8)).save(tmp_path / "a.png")
    explain(tmp_path, "a.png", "--label", "ill", said="a.explain.png")
    numbers = np.load(tmp_path / "a.explain.npy")
    assert numbers.shape == (1, 40, 30) and numbers.dtype == np.float32
    assert not numbers[0, :5].any() and not numbers[0, 35:].any()  # cut off for the network
    small = classifier.explain(classifier.read(tmp_path / "a.png")[None], 1)
    assert numbers.max() == pytest.approx(small.max(), rel=0.1)
    with Image.open(tmp_path / "a.explain.png") as picture:
        assert picture.size[0] > 300 and picture.size[1] > 300


def test_a_scan_gets_a_map_in_its_geometry(run, tmp_path):
    volumes = np.random.default_rng(0).integers(-900, 900, (20, 6, 8, 7)).astype(np.int16)
    run(volumes[..., None])
    path = write_scan(tmp_path / "a.nii.gz", volumes[0], (2, 1, 1), "LPS")
    (tmp_path / "other").mkdir()
    write_scan(tmp_path / "other" / "a.nii.gz", volumes[1], (2, 1, 1))
    arguments = ("a.nii.gz", "other", "--group", "0", "--output", "maps")
    explain(tmp_path, *arguments, said="maps/a.explain.png and 1 more")
    names = {"a.explain.nii.gz", "a.explain.png", "a-2.explain.nii.gz", "a-2.explain.png"}
    assert {one.name for one in (tmp_path / "maps").iterdir()} == names
    scan, found = (
        sitk.ReadImage(str(one)) for one in (path, tmp_path / "maps" / "a.explain.nii.gz")
    )
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(scan, name)(), getattr(found, name)(), atol=1e-5)
    assert sitk.GetArrayFromImage(found).max() > 0


def test_the_title_says_what_is_explained_and_predicted():
    shares, names = np.array([0.575, 0.425]), ["normal", "ill"]
    assert explanation._title(shares, names, 0) == "normal (57.5%)"
    assert explanation._title(shares, names, 1) == (
        "evidence for ill (42.5%); predicted: normal (57.5%)"
    )


def test_scans_are_drawn_as_radiologists_look(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(explanation, "save_figure", lambda figure, path: drawn.append(figure))
    voxels = np.zeros((4, 6, 5, 1), np.int16)
    voxels[3, 5, 4] = 7  # the highest slice, at the front, on the patient's right
    numbers = np.zeros((4, 6, 5), np.float32)
    numbers[3, 5, 4] = 1
    grid = Grid((4, 6, 5), (2, 1, 1))
    for item, place in (
        (Input("a", voxels, voxels, lambda one: one, grid), (0, 0)),
        (Input("a", voxels, voxels, lambda one: one), (-1, -1)),
    ):
        explanation._draw(item, numbers, "title", tmp_path / "x.png")
        panels = drawn.pop().axes[:3]
        marks = ["".join(text.get_text() for text in panel.texts) for panel in panels]
        titles = [panel.get_title() for panel in panels]
        if item.grid:
            assert marks == ["RLA", "RLH", "APH"]
            assert titles == ["axial 3", "coronal 5", "sagittal 4"]
        else:
            assert marks == [""] * 3 and titles == ["depth 3", "height 5", "width 4"]
        pictures = [panel.images[0] for panel in panels]
        assert [picture.get_array().shape for picture in pictures] == [(6, 5), (4, 5), (4, 6)]
        assert all(picture.get_array()[place] == 7 for picture in pictures)


def test_a_map_returns_through_the_grid_of_a_network_for_scans(tmp_path):
    volumes, lines = np.random.default_rng(0).integers(-900, 900, (20, 6, 8, 7)), ["path,label"]
    for row, voxels in enumerate(volumes.astype(np.int16)):
        write_scan(tmp_path / f"{row}.nii.gz", voxels, (2, 1, 1), "LPS")
        lines.append(f"{row}.nii.gz,{row % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    settings = {"dataset": str(tmp_path / "labels.csv"), "volume_size": 4, "batch_size": 4}
    env = small_environment("keras", **settings)
    env.step(learning_rate=0.1)
    env.save(tmp_path / "best.safetensors")
    arguments = ("3.nii.gz", "--group", "0", "--output", "maps")
    explain(tmp_path, *arguments, said="maps/3.explain.png")
    scan, found = (
        sitk.ReadImage(str(tmp_path / name)) for name in ("3.nii.gz", "maps/3.explain.nii.gz")
    )
    assert scan.GetSize() == found.GetSize() and scan.GetDirection() == found.GetDirection()
    volume = read_input(Classifier(tmp_path).network, tmp_path / "3.nii.gz").volume
    small = env.explain(env.dataset.normalise(volume[None]), group=0)
    assert sitk.GetArrayFromImage(found).max() == pytest.approx(small.max(), rel=0.3)


def test_wrong_settings_are_refused(run, tmp_path):
    run(np.random.default_rng(0).integers(0, 256, (20, 1, 16, 16, 1)).astype(np.uint8))
    np.save(tmp_path / "a.npy", np.arange(256).astype(np.uint8).reshape(16, 16))
    for arguments, sentence in {
        ("--label", "ill"): "label says which class to explain: add --explain, or leave label out",
        ("--explain", "--label", "dead"): "label is 'dead', but must be healthy or ill",
        ("--explain", "--group", "3"): "group is 3, but must be a whole number from 0 to 2",
    }.items():
        process = run_command("-m", "wrn3d.predict", tmp_path, tmp_path / "a.npy", *arguments)
        assert (process.returncode, process.stdout) == (2, "")
        assert process.stderr == f"error: {sentence}\n"
