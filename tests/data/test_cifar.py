"""CIFAR's official layouts, intact and damaged."""

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.support.cifar_files import digit_pixels, write_cifar10, write_cifar100
from wrn3d import load_dataset
from wrn3d.data import cifar
from wrn3d.data.cifar_pickles import unpickle


@pytest.mark.parametrize("layout", ["bin", "py"])
def test_cifar10_is_read_from_either_layout(tmp_path, layout):
    write_cifar10(tmp_path, layout)
    dataset = load_dataset("cifar10", tmp_path)
    pixels, labels = digit_pixels(np.arange(120))
    volumes = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)[:, None]
    for name, rows in (("train", slice(100)), ("test", slice(100, 120))):
        assert np.array_equal(dataset.split(name)[0], volumes[rows])
        assert np.array_equal(dataset.split(name)[1], labels[rows])
    assert dataset.class_names[3] == "class3"


@pytest.mark.parametrize("layout", ["bin", "py"])
def test_cifar100_is_read_from_either_layout_with_fine_labels(tmp_path, layout):
    write_cifar100(tmp_path, layout)
    dataset = load_dataset("cifar100", tmp_path)
    pixels, coarse = digit_pixels(np.arange(60))
    assert np.array_equal(dataset.train_labels, coarse * 10 + np.arange(60) % 10)
    assert np.array_equal(dataset.train_volumes[5, 0].transpose(2, 0, 1).ravel(), pixels[5])
    assert len(dataset.class_names) == 100 and len(dataset.test_labels) == 12


def test_no_intact_file_is_too_large(tmp_path, monkeypatch):
    write_cifar10(tmp_path, "py", per_file=100)
    brightest = np.full((100, 3072), 255, np.uint8)  # each byte becomes two in Python 3's pickle
    rewrite(data=brightest)(tmp_path / "cifar-10-batches-py" / "data_batch_1")
    monkeypatch.setattr(cifar, "CIFAR10", replace(cifar.CIFAR10, most_images=100))
    assert np.array_equal(
        load_dataset("cifar10", tmp_path).train_volumes[:100].ravel(), brightest.ravel()
    )


def change(edit):
    """Return a function that replaces a file's content by `edit(content)`."""
    return lambda path: path.write_bytes(edit(path.read_bytes()))


def enlarge(path):
    with path.open("ab") as file:
        file.truncate(10_000 * cifar.BYTES_PER_IMAGE + 1)


def rewrite(**changes):
    def damage(path):
        batch = pickle.loads(path.read_bytes(), encoding="bytes")
        batch |= {key.encode(): value for key, value in changes.items()}
        kept = {key: value for key, value in batch.items() if value is not None}
        path.write_bytes(pickle.dumps(kept, protocol=2))

    return damage


BINARY_DAMAGES = [
    (change(lambda content: content[:-1]), "are not whole records of 3,073"),
    (change(lambda content: content[:-3073]), "it holds 19 images, but 20"),
    (change(lambda content: b""), "its 0 bytes are not whole"),
    (enlarge, "larger than any official file"),
    (change(lambda content: b"\x0a" + content[1:]), "its labels run from 0 to 10"),
    (lambda path: path.unlink(), "no such file"),
]
PYTHON_DAMAGES = [
    (change(lambda content: content[:-1]), "not a pickled CIFAR batch"),
    (change(lambda content: b""), "not a pickled CIFAR batch"),
    (enlarge, "larger than any official file"),
    (rewrite(data=None), "lacks an array 'data'"),
    (rewrite(labels=None), "or a list 'labels'"),
    (rewrite(labels=[0] * 19), "its labels are not 20 whole numbers"),
    (rewrite(labels=[0.5] * 20), "its labels are not 20 whole numbers"),
    (rewrite(labels=[-1] * 20), "its labels run from -1 to -1"),
    (rewrite(labels=[2**70] * 20), "its labels run from 1180591620717411303424 to"),
    (rewrite(labels=[10] * 20), "its labels run from 10 to 10"),
    (rewrite(data=np.zeros((20, 3073), np.uint8)), r"the shape \(20, 3073\)"),
    (rewrite(data=np.zeros((20, 3072), np.float32)), "not an array of rows of bytes"),
    (rewrite(data=np.zeros((20, 3, 1024), np.uint8)), "not an array of rows of bytes"),
    (change(lambda content: pickle.dumps([1, 2])), "not a pickled dictionary"),
    (change(lambda content: b"\x89PNG not a pickle"), "not a pickled CIFAR batch"),
]


@pytest.mark.parametrize(
    "layout, damage, reason",
    [("bin", *case) for case in BINARY_DAMAGES] + [("py", *case) for case in PYTHON_DAMAGES],
)
def test_a_damaged_batch_is_named_in_one_sentence(tmp_path, layout, damage, reason):
    folder = write_cifar10(tmp_path, layout)
    path = folder / ("data_batch_3.bin" if layout == "bin" else "data_batch_3")
    damage(path)
    with pytest.raises(ValueError, match=reason) as caught:
        load_dataset("cifar10", tmp_path)
    message = str(caught.value)
    assert ": )" not in message  # the reason is not empty
    assert message.startswith(f"{path} cannot be used (")
    assert f"delete {folder} and run again" in message and "\n" not in message


@pytest.mark.parametrize(
    "layout, content",
    [
        ("bin", b"cat\ndog\n"),
        ("bin", b"\xff\n" * 10),
        ("py", pickle.dumps({})),
        ("py", pickle.dumps({b"label_names": [1] * 10})),
        ("py", pickle.dumps({b"label_names": [2**70] * 10})),
        ("py", pickle.dumps({b"label_names": ["x"] * 10})),
    ],
)
def test_damaged_class_names_are_refused(tmp_path, layout, content):
    folder = write_cifar10(tmp_path, layout)
    path = folder / ("batches.meta.txt" if layout == "bin" else "batches.meta")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be used"):
        load_dataset("cifar10", tmp_path)


class Hostile:
    """An object whose pickle calls a given function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_hostile_pickle_runs_nothing(tmp_path, protocol):
    import os

    folder, mark = write_cifar10(tmp_path, "py"), tmp_path / "mark"
    for function, argument in ((os.system, f"touch {mark}"), (eval, f"open({str(mark)!r}, 'w')")):
        batch = {b"data": Hostile(function, argument), b"labels": [0]}
        (folder / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=protocol))
        with pytest.raises(ValueError, match="it holds .*(system|eval)|forbidden pickle operation"):
            load_dataset("cifar10", tmp_path)
        assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02r\xff\xff\xff\xff.",  # a memo index that C's unpickler would allocate for
        b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x.",  # bytes of an absurd length
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(lp0\n(I999999999999\ntS'b'\ntR.",
        b"(" * 100_000,
    ],
)
def test_a_pickle_that_claims_too_much_is_refused_cheaply(content):
    with pytest.raises(ValueError, match="not a pickled"):
        unpickle(content)


def test_a_data_dir_that_does_not_fit_is_named(tmp_path):
    (tmp_path / "file").write_text("something else")
    folder = write_cifar10(tmp_path, "py")
    for data_dir, sentence in (
        (tmp_path / "file", "is a file, but should be the folder"),
        (folder, f"own folder: .* --data-dir {tmp_path}$"),
    ):
        with pytest.raises(ValueError, match=sentence):
            load_dataset("cifar10", data_dir)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(ValueError, match="data_batch_1 cannot be used .no such file"):
        load_dataset("cifar10", tmp_path)
