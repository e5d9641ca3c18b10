"""Malicious files, which would exhaust memory or time or run code: refused cheaply."""

import io
import json
import os
import pickletools
import shutil
import zipfile
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from tests.fuzz.measuring import refused_cheaply
from tests.support.cifar_files import write_cifar10
from tests.support.runs import small_checkpoint
from wrn3d import Checkpoint, load_dataset
from wrn3d.convert.pytorch_files import read_arrays
from wrn3d.data import medmnist
from wrn3d.data.dataset import SPLIT_NAMES
from wrn3d.runs.config import RunConfig
from wrn3d.system import unpickling
from wrn3d.system.errors import UserError
from wrn3d.training.recipes import find_recipe


def npz_with(path, name, content, compression=zipfile.ZIP_DEFLATED):
    """Write a good .npz file, but with `content` as the entry `name`."""
    labels = np.arange(12)[:, None] % 2
    with zipfile.ZipFile(path, "w", compression) as archive:
        for split in SPLIT_NAMES.values():
            for kind, array in (("images", np.zeros((12, 4, 4, 4), np.uint8)), ("labels", labels)):
                buffer = io.BytesIO()
                np.save(buffer, array)
                entry = f"{split}_{kind}.npy"
                archive.writestr(entry, content if entry == name else buffer.getvalue())
    return str(path)


def array_header(shape, kind="|u1"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content, sentence",
    [
        (array_header((1 << 20, 1 << 10, 1 << 10, 4)), "does not hold the data that its header"),
        (array_header((1 << 62, 1 << 62)), "does not hold the data that its header"),
        (array_header((3,), "|O") + b"\x80\x04.", "holds Python objects instead of numbers"),
        (array_header((64,) * 4) + bytes(64**4), "must be 64 whole numbers"),  # a thousandfold
        (b"\x93NUMPY\x01\x00\xff\xff" + b" " * 65535, "Header info length"),
    ],
)
def test_an_npz_that_claims_too_much_is_refused_cheaply(tmp_path, content, sentence):
    path = npz_with(tmp_path / "x.npz", "train_images.npy", content)
    refused_cheaply(load_dataset, path, f"x.npz is not an .npz file .*{sentence}")


def test_an_npz_of_more_than_the_memory_is_refused_unread(tmp_path, monkeypatch):
    content = array_header((96,) * 4) + bytes(96**4)
    path = npz_with(tmp_path / "x.npz", "train_images.npy", content)
    monkeypatch.setattr(medmnist, "available_memory", lambda: 100e6)
    sentence = "its arrays would take 0.08 GiB, but may take half of the free memory"
    refused_cheaply(load_dataset, path, sentence, most=50e6)


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_another_compression_is_refused(tmp_path, compression):
    path = npz_with(tmp_path / "x.npz", "", b"", compression)
    refused_cheaply(load_dataset, path, "has a compression that np.savez never uses")


@pytest.mark.parametrize("read", [Checkpoint.load, read_arrays])
@pytest.mark.parametrize("size, claim", [(1 << 40, 0), (None, 1 << 42)])
def test_a_safetensors_header_of_terabytes_is_refused_cheaply(tmp_path, size, claim, read):
    entry = {"dtype": "F32", "shape": [claim // 4], "data_offsets": [0, claim]}
    header = json.dumps({"x": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes((size or len(header)).to_bytes(8, "little") + header)
    refused_cheaply(read, path, "cannot be read as")


@pytest.mark.parametrize(
    "change",
    [
        {"iteration": float("inf")},
        {"iteration": -1},
        {"iteration": 10**30},
        {"iteration": 1.5},
        {"index_in_epoch": True},
        {"learning_rate_scale": 0},
        {"learning_rate_scale": float("nan")},
        {"epochs_completed": "1"},
        {"config": 3},
    ],
)
def test_a_checkpoint_with_impossible_numbers_is_refused(tmp_path, change):
    path = tmp_path / "x.safetensors"
    replace(small_checkpoint(path, asdict(RunConfig())), **change).save(path)
    with pytest.raises(UserError, match="x.safetensors cannot be read as a checkpoint") as refusal:
        Checkpoint.load(path)
    assert "checksum" not in str(refusal.value)


def text(length):
    """Return the pickle operation that makes a string of `length` letters."""
    return b"X" + length.to_bytes(4, "little") + b"a" * length


# Pickles that would each take a gigabyte, or never end.
MILLION = text(10**6) + b"q\x00("  # as name 0; then a list begins
LATIN1 = b"X\x06\x00\x00\x00latin1\x86R"
BYTEARRAY = b"\x80\x05\x96" + (600_000_000).to_bytes(8, "little") + b"."
ENCODED = b"\x80\x02" + MILLION + (b"c_codecs\nencode\nh\x00" + LATIN1) * 1000 + b"l."
# A hundred calls whose arguments are the million letters of a string.
SPREAD = b"\x80\x02cnumpy\nndarray\nq\x01" + MILLION + b"h\x01h\x00R" * 100 + b"l."
# The pickle lifts the stand-in's own limit.
LIFTED = (
    b"\x80\x02c_codecs\nencode\nq\x01}X\x04\x00\x00\x00most\x8a\x08"
    + b"\x10" * 8
    + b"sb0"
    + MILLION
    + (b"h\x01h\x00" + LATIN1) * 1000
    + b"l."
)
COLLIDING = (
    b"\x80\x02}("
    + b"".join(
        b"\x8a\x0a" + (number * (2**61 - 1)).to_bytes(10, "little") + b"N"
        for number in range(1, 20_000)
    )
    + b"u."
)
NESTED_KEY = b"\x80\x02}(" + b"U\x01a" + b"q\x000h\x00h\x00\x86" * 60 + b"U\x01bu."
MANY = b"\x80\x02](" + b"]" * 3_000_000 + b"e."
# A thousand dictionaries, each of the same 30,000 pairs.
PAIRS = b"".join(b"X\x05\x00\x00\x00%05dN\x86" % number for number in range(30_000))
REPEATED = b"\x80\x02ccollections\nOrderedDict\nq\x01]q\x00(%be0](%be." % (
    PAIRS,
    b"h\x01h\x00\x85R" * 1000,
)
# A thousand tensors whose shape has 100,000 axes, and one with an axis of a megabyte's number.
REBUILD = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x01"
STORAGE = b"(%bctorch\nFloatStorage\n%b%bK\x03tQ" % tuple(
    b"X%b%b" % (len(word).to_bytes(4, "little"), word) for word in (b"storage", b"0", b"cpu")
)
AXES = b"%b(%btq\x000](%be." % (
    REBUILD,
    b"K\x01" * 100_000,
    b"h\x01(%bK\x00h\x00h\x00tR" % STORAGE * 1000,
)
LONG = b"%b(%bK\x00\x8b%b%b\x85q\x00h\x00tR." % (
    REBUILD,
    STORAGE,
    (10**6).to_bytes(4, "little"),
    b"\x01" * 10**6,
)
OPENED = b"\x80\x02cio\nopen\nU\x01xU\x01w\x86\x81."
CLASS_STATE = b"\x80\x02cargparse\nNamespace\n}b."
TYPE_STATE = b"\x80\x02ctorch\nfloat32\n}b."
ITSELF = b"\x80\x02}q\x00U\x01ah\x00s."
DOUBLED = b"\x80\x02]q\x00%b." % (b"](h\x00h\x00eq\x00" * 60)
TENSOR = b"\x80\x02ctorch\nFloatTensor\nJ" + (2 * 10**8).to_bytes(4, "little") + b"\x85R."
CALLED = b"\x80\x02cbuiltins\nbytearray\nJ" + (10**9).to_bytes(4, "little") + b"\x85R."


def cifar_reader(folder, content):
    """Return a function that reads a CIFAR batch with this pickle, and its argument."""
    made = write_cifar10(folder, "py", per_file=2)
    (made / "data_batch_1").write_bytes(content)
    return lambda path: load_dataset("cifar10", path), folder


def zipped_pytorch_reader(folder, content, name="data.pkl", also=()):
    """Return the same for PyTorch's weights, with the pickle as the entry `name`.

    `also` has more entries, {name: content}.
    """
    torch.save({"x": torch.zeros(3)}, folder / "good.pt")
    path = folder / "x.pt"
    with zipfile.ZipFile(folder / "good.pt") as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if entry.filename.endswith("data.pkl"):
                prefix = entry.filename.removesuffix("data.pkl")
                for entry_name, inner in {
                    name: content or source.read(entry),
                    **dict(also),
                }.items():
                    target.writestr(prefix + entry_name, inner)
            else:
                target.writestr(entry.filename, source.read(entry))
    return read_arrays, path


def older_pytorch_reader(folder, content):
    """Return the same for PyTorch's older files, which are several pickles."""
    path = folder / "x.pt"
    torch.save({"x": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    good = path.read_bytes()
    start = good.index(b"\x80\x02}q\x00X\x01\x00\x00\x00x")
    *_, (_, _, stop) = pickletools.genops(good[start:])
    path.write_bytes(good[:start] + content + good[start + stop + 1 :])
    return read_arrays, path


PYTORCH_PICKLES = [
    (CALLED, "it holds builtins.bytearray"),
    (TENSOR, "it holds torch.FloatTensor"),
    (SPREAD.replace(b"numpy\nndarray", b"torch\nSize"), "more than a few arguments"),
    (COLLIDING, "a dictionary with unusual keys"),
    (NESTED_KEY, "a dictionary with unusual keys"),
    (MANY, "takes more than 2,000,000 steps"),
    (BYTEARRAY, "cannot be read as PyTorch weights"),
    (REPEATED, "has no dictionary of tensors|its storages are damaged"),
    (AXES, "a tensor of an impossible shape"),
    (LONG, "a tensor of an impossible shape"),
    (OPENED, "it holds io.open"),
    (CLASS_STATE, "cannot be read as PyTorch weights"),
    (TYPE_STATE, "sets the state of an object without one"),
    (ITSELF, "has no dictionary of tensors|its storages are damaged"),
    (DOUBLED, "has no dictionary of tensors|its storages are damaged"),
]
CIFAR_PICKLES = [
    (BYTEARRAY, "not a pickled CIFAR batch"),
    (ENCODED, "decodes to more bytes than the file has"),
    (SPREAD, "more than a few arguments"),
    (LIFTED, "not a pickled CIFAR batch"),
    (COLLIDING, "a dictionary with unusual keys"),
    (NESTED_KEY, "a dictionary with unusual keys"),
    (MANY, "takes more than 2,000,000 steps"),
]


@pytest.mark.parametrize(
    "make_reader, content, sentence",
    [
        pytest.param(
            make_reader,
            content,
            sentence,
            marks=[pytest.mark.slow] if content is MANY else [],
        )
        for make_reader, pickles in (
            (cifar_reader, CIFAR_PICKLES),
            (zipped_pytorch_reader, PYTORCH_PICKLES),
            (older_pytorch_reader, PYTORCH_PICKLES),
        )
        for content, sentence in pickles
    ],
)
def test_a_pickle_that_makes_too_much_is_refused_cheaply(tmp_path, make_reader, content, sentence):
    read, path = make_reader(tmp_path, content)
    refused_cheaply(read, path, sentence, most=400e6)


def test_a_pickle_of_too_many_steps_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickling, "MOST_OPERATIONS", 10_000)
    read, path = cifar_reader(tmp_path, b"\x80\x02](" + b"]" * 10_000 + b"e.")
    refused_cheaply(read, path, "takes more than 10,000 steps")


@pytest.mark.parametrize(
    "content, name, also, sentence",
    [
        (CALLED, "DATA.PKL", (), "it holds builtins.bytearray"),
        (None, "data.pkl", {"DATA.PKL": CALLED}, "two entries of one name"),
    ],
)
def test_pytorch_ignores_the_case_of_names(tmp_path, content, name, also, sentence):
    read, path = zipped_pytorch_reader(tmp_path, content, name, also)
    refused_cheaply(read, path, sentence)


@pytest.mark.parametrize("version", [20, 99])  # that is needed; 99 zipfile refuses, torch ignores
def test_a_compressed_pytorch_file_is_refused_cheaply(tmp_path, version):
    torch.save({"params": {"conv0": torch.zeros(10_000_000)}}, tmp_path / "large.pt")
    bomb = tmp_path / "bomb.pt"
    with (
        zipfile.ZipFile(tmp_path / "large.pt") as large,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in large.infolist():
            with large.open(entry) as source, target.open(entry.filename, "w") as packed:
                shutil.copyfileobj(source, packed, 1 << 16)
    content = bytearray(bomb.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        content[place + 6] = version
        place = content.find(b"PK\x01\x02", place + 4)
    bomb.write_bytes(content)
    refused_cheaply(read_arrays, bomb, "bomb.pt cannot be read as PyTorch weights", most=20e6)


@pytest.mark.parametrize(
    "read, name",
    [
        (load_dataset, "x.npz"),
        (Checkpoint.load, "x.safetensors"),
        (read_arrays, "x.safetensors"),
        (read_arrays, "x.pt"),
        (find_recipe, "x.toml"),
    ],
)
def test_missing_files_pipes_and_endless_files_are_refused(tmp_path, read, name):
    path = tmp_path / name
    for missing in (path, tmp_path / ("x" * 300 + name), tmp_path):
        if missing != tmp_path or read not in (load_dataset, find_recipe):
            with pytest.raises(UserError, match="does not exist or is not a file"):
                read(str(missing))
    os.mkfifo(path)
    with pytest.raises(UserError, match="does not exist or is not a file"):
        read(str(path))
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 42)  # zeros that take no room on the disk
    refused_cheaply(read, str(path), "is larger than the free memory")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_cifar_file_that_never_ends_is_not_waited_for(tmp_path, make):
    batch = write_cifar10(tmp_path, "bin", per_file=2) / "data_batch_1.bin"
    batch.unlink()
    make(batch)
    refused_cheaply(lambda folder: load_dataset("cifar10", folder), tmp_path, "it is not a file")
