"""What the command finds to classify: files, folders, arrays, stacks, runs."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.support.environments import small_environment
from tests.support.processes import run_command
from tests.support.scan_files import write_scan, write_series
from wrn3d import Checkpoint, Dataset
from wrn3d.predict import Classifier
from wrn3d.predict.sources import find_sources
from wrn3d.system.errors import DataError, MissingDataError
from wrn3d.training.checkpoint import checkpoint_file

SHAPE = (6, 8, 7)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Return the untrained network of a run for volumes of 6x8x7x1, int16, and its folder."""
    volumes, labels = volumes_of(20), np.arange(20) % 2
    env = small_environment("keras", batch_size=4, data=Dataset.from_arrays(volumes, labels))
    folder = tmp_path_factory.mktemp("run")
    env.save(folder / "checkpoint-00000007.safetensors")
    return Classifier(folder), folder


def volumes_of(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-900, 900, (count, *SHAPE, 1)).astype(np.int16)


def read(found, network):
    return [source.read(network).volume for source in found]


def test_a_stack_and_an_npz_file_give_each_of_their_volumes(classifier, tmp_path):
    network, volumes = classifier[0].network, volumes_of(3)
    np.save(tmp_path / "stack.npy", volumes[..., 0])
    np.save(tmp_path / "one.npy", volumes[1])
    np.savez(tmp_path / "some.npz", images=volumes[..., 0], labels=[0, 1, 1])
    np.savez(tmp_path / "medmnist.npz", train_images=volumes[:0], test_images=volumes)
    np.savez_compressed(tmp_path / "alone.npz", volumes)
    for name in ("stack.npy", "some.npz", "medmnist.npz", "alone.npz"):
        found = find_sources(tmp_path / name, network)
        assert [source.name for source in found] == [f"{tmp_path / name}[{n}]" for n in range(3)]
        assert np.array_equal(read(found, network), volumes)
    [one] = find_sources(tmp_path / "one.npy", network)
    assert (one.name, one.stem) == (str(tmp_path / "one.npy"), "one")
    assert np.array_equal(read([one], network), volumes[1:2])


def test_a_folder_gives_its_files_and_its_series(classifier, tmp_path):
    volumes = volumes_of(4)[..., 0]
    (tmp_path / "inner").mkdir()
    np.save(tmp_path / "inner" / "a.npy", volumes[0])
    write_scan(tmp_path / "b.nii.gz", volumes[1])
    write_series(tmp_path / "ct", volumes[2])
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / ".hidden.npy").write_text("nothing")
    for name in ("b.explain.nii.gz", "b.explain.png", "a.explain.npy"):  # of an earlier call
        (tmp_path / name).write_text("nothing")
    found = find_sources(tmp_path, classifier[0].network)
    names = ["b.nii.gz", "ct", "inner/a.npy"]
    assert [source.name for source in found] == [str(tmp_path / name) for name in names]
    assert [source.stem for source in found] == ["b", "ct", "a"]
    assert np.array_equal(np.array(read(found, classifier[0].network))[..., 0], volumes[[1, 2, 0]])
    for slice_ in (tmp_path / "ct").iterdir():
        slice_.rename(slice_.with_suffix(""))
    [series] = find_sources(tmp_path / "ct", classifier[0].network)
    assert np.array_equal(read([series], classifier[0].network)[0][..., 0], volumes[2])


def test_what_holds_nothing_is_named(classifier, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no pictures or volumes: name files, or a fol"):
        read(find_sources(tmp_path / "empty", classifier[0].network), classifier[0].network)
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(DataError, match=r"two.npz holds no images to classify \(it has neither "):
        read(find_sources(tmp_path / "two.npz", classifier[0].network), classifier[0].network)
    (tmp_path / "bad.npz").write_text("nothing")
    with pytest.raises(DataError, match=r"bad.npz holds no images to classify \(.*: save them wit"):
        read(find_sources(tmp_path / "bad.npz", classifier[0].network), classifier[0].network)


def test_a_runs_folder_stands_for_its_best_or_newest_checkpoint(classifier, tmp_path):
    checkpoint = Checkpoint.load(classifier[1])
    with pytest.raises(MissingDataError, match="or is not a file: name a checkpoint's file, or"):
        Checkpoint.load(tmp_path)
    for number in (7, 12):
        checkpoint.save(tmp_path / f"checkpoint-{number:08}.safetensors")
    assert checkpoint_file(tmp_path).name == "checkpoint-00000012.safetensors"
    checkpoint.save(tmp_path / "best.safetensors")
    assert checkpoint_file(str(tmp_path)).name == "best.safetensors"
    assert checkpoint_file("somewhere/else").name == "else"


def test_one_broken_file_does_not_lose_the_rest(classifier, tmp_path):
    np.save(tmp_path / "a.npy", volumes_of(1)[0])
    (tmp_path / "b.npy").write_text("nothing")
    Image.new("L", (8, 8)).save(tmp_path / "c.png")
    process = run_command(
        *("-m", "wrn3d.predict", classifier[1], tmp_path, tmp_path / "absent.npz", "--json")
    )
    assert process.returncode == 1
    assert [one["file"] for one in json.loads(process.stdout)] == [str(tmp_path / "a.npy")]
    errors = process.stderr.splitlines()
    assert len(errors) == 3 and all(line.startswith("error: ") for line in errors)
    pairs = zip(("absent.npz does", "b.npy cannot", "c.png is"), sorted(errors), strict=True)
    assert all(part in line for part, line in pairs)
