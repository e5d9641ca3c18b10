"""Every reader of outside files on real files that were damaged: data or one clear error, nothing
run, no hang, no more memory than the file is worth.

`make fuzz` tries ten thousand on each.
"""

import ctypes
import gzip
import hashlib
import io
import json
import os
import random
import shlex
import shutil
import sys
import tarfile
import time
import zipfile
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.cifar_files import write_cifar10, write_cifar100
from tests.fuzz.mutation import mutated
from tests.support.pytorch_networks import authors_params
from tests.support.runs import small_checkpoint
from wrn3d import Checkpoint, WideResNetSpec, initial_weights, load_dataset
from wrn3d.convert.pytorch_files import read_arrays
from wrn3d.data import digits as digits_module
from wrn3d.data import download, medmnist
from wrn3d.data.dataset import SPLIT_NAMES
from wrn3d.data.npy import read_volume
from wrn3d.predict import described
from wrn3d.runs.command import read_flags
from wrn3d.runs.curves import read_curves
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.resuming import starting_point
from wrn3d.system.errors import UserError
from wrn3d.system.memory import peak_memory, resident_memory
from wrn3d.training import checkpoint
from wrn3d.training.config import RunConfig
from wrn3d.training.recipes import find_recipe

SECONDS = 5.0  # for one input; honest ones take milliseconds
GROWTH = 50e6  # bytes of memory for one input; the files are below 4 MB
FORBIDDEN = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
    "pty.spawn",
    "webbrowser.open",
}
executed = []


@contextmanager
def memory_measured():
    """A context with a list, to which the bytes are added by which this process grew at the most;
    Linux forgets an earlier peak when it is told to."""
    ctypes.CDLL(None).malloc_trim(0)  # what was given back must not hide what is taken
    Path("/proc/self/clear_refs").write_text("5")
    before, grown = resident_memory(), []
    try:
        yield grown
    finally:
        grown.append(peak_memory() - before)


def refused_cheaply(read, path, said, most=100e6):
    """It is refused so, and takes no more memory than `most` bytes for that."""
    with memory_measured() as grown, pytest.raises(UserError, match=said):
        read(path)
    assert grown[0] < most


@pytest.fixture(scope="module")
def watched():
    """Notes what Python's audit hooks tell; they can't be taken away, so this one is turned off."""
    watching = [True]
    sys.addaudithook(
        lambda event, arguments: (
            watching[0] and event in FORBIDDEN and executed.append((event, arguments))
        )
    )
    yield
    watching[0] = False


def cifar_file(dataset, layout, name):
    """The reader of one of a CIFAR data set's files."""

    def reader(folder):
        made = (
            write_cifar10(folder, layout, per_file=2)
            if dataset == "cifar10"
            else write_cifar100(folder, layout, test_count=2)
        )
        return made / name, mutated, lambda path: load_dataset(dataset, folder)

    reader.__name__ = f"{dataset}_{name}"
    return reader


def archive(folder):
    """Each with its own checksum, by which the download is otherwise refused."""
    made, target = write_cifar10(folder / "made", "py", per_file=1), folder / "data"
    path = folder / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(made, made.name)

    def damage(content, draw):
        if draw.random() < 0.3:
            return mutated(content, draw)
        return gzip.compress(mutated(gzip.decompress(content), draw), 1)

    def read(path):
        official = download.Archive("", hashlib.md5(path.read_bytes()).hexdigest(), made.name)
        try:
            download._unpack(official, path, target)
        finally:
            left = [found.name for found in folder.iterdir()]
            assert set(left) <= {"made", "data", path.name}, left  # nothing beside its place
            shutil.rmtree(target, ignore_errors=True)

    return path, damage, read


def damaged_zip(content, draw, compression, likely):
    """Half of them changed as they are, half packed again after `likely(name)` entries were."""
    if draw.random() < 0.5:
        return mutated(content, draw)
    damaged = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as whole,
        zipfile.ZipFile(damaged, "w", compression) as packed,
    ):
        for entry in whole.infolist():
            inner = whole.read(entry)
            if draw.random() < likely(entry.filename):
                inner = mutated(inner, draw)
            packed.writestr(entry.filename, inner)
    return damaged.getvalue()


def npz(folder):
    draw = np.random.default_rng(0)
    volumes = draw.integers(0, 2, (12, 8, 8, 8), dtype=np.uint8)
    arrays = {
        f"{split}_{kind}": value
        for split in SPLIT_NAMES.values()
        for kind, value in (("images", volumes), ("labels", np.arange(12)[:, None] % 2))
    }
    np.savez_compressed(folder / "volumes.npz", **arrays)

    def damage(content, draw):
        return damaged_zip(content, draw, zipfile.ZIP_DEFLATED, lambda name: 0.4)

    return folder / "volumes.npz", damage, lambda path: load_dataset(str(path))


def safetensors(folder):
    small_checkpoint(folder / "x.safetensors", asdict(RunConfig()))

    def read(path):
        checkpoint.is_checkpoint(path)
        read_arrays(path)

    return folder / "x.safetensors", mutated, read


def checkpoint_header(folder):
    """Configuration and numbers that were changed together with the checksum."""
    path = folder / "checkpoint-00000007.safetensors"
    saved = small_checkpoint(path, asdict(RunConfig()))
    arrays = saved.weights | {"momentum/fc.bias": saved.momentum["fc.bias"]}

    def damage(content, draw):
        size = int.from_bytes(content[:8], "little")
        outer = json.loads(content[8 : 8 + size])
        header = json.loads(outer["__metadata__"][checkpoint.HEADER])
        del header["sha256"]
        text = mutated(json.dumps(header).encode(), draw).decode("latin1")
        try:
            header = json.loads(text)
            header["sha256"] = checkpoint._checksum(arrays, header)
            text = json.dumps(header)
        except (ValueError, TypeError, RecursionError):
            pass  # no JSON any more, or another kind of it
        outer["__metadata__"][checkpoint.HEADER] = text
        changed = json.dumps(outer).encode()
        return len(changed).to_bytes(8, "little") + changed + content[8 + size :]

    def read(path):
        starting_point(RunConfig(output=folder, resume=True), RunFolder(folder, resume=True))
        Checkpoint.load(path)

    return path, damage, read


def checkpoint_to_classify(folder):
    """The same, of a whole network, from which a classifier would be made."""
    path = folder / "saved.safetensors"
    spec = WideResNetSpec(10, 1, input_shape=(1, 8, 8, 1))
    config = {
        "depth": 10,
        "widen_factor": 1,
        "dropout": 0.0,
        "shortcut": "pad",
        "strides": [1, 2, 2],
        "precision": "float32",
        "classes": [f"class {number}" for number in range(10)],
    }
    Checkpoint(
        initial_weights(spec, 0),
        config=config,
        normalisation={
            "mean": np.zeros((1, 1, 8, 8, 1), np.float32),
            "std": np.ones(1, np.float32),
        },
    ).save(path)

    def damage(content, draw):
        saved = Checkpoint.load(folder / "saved.safetensors")
        text = mutated(json.dumps(saved.config).encode(), draw).decode("latin1")
        try:
            changed = json.loads(text)
            replace(saved, config=changed).save(folder / "changed.safetensors")
        except (ValueError, TypeError, RecursionError):
            return mutated(content, draw)
        return (folder / "changed.safetensors").read_bytes()

    def read(path):
        try:
            described(Checkpoint.load(path))
        except (KeyError, TypeError) as error:  # of which Classifier makes a DataError
            raise UserError("what it does not tell") from error

    shutil.copy(path, folder / "read.safetensors")
    return folder / "read.safetensors", damage, read


def npy(folder):
    np.save(folder / "x.npy", digits_module.load().test_volumes[0])

    return folder / "x.npy", mutated, lambda path: read_volume(path, (1, 32, 32, 3))


def pytorch(folder):
    params = {name: array for name, array in authors_params(10, 1).items() if array.numel() < 300}
    torch.save({"params": params}, folder / "x.pt")

    def damage(content, draw):
        compression = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
        return damaged_zip(
            content, draw, compression, lambda name: 0.9 if name.endswith("data.pkl") else 0.1
        )

    return folder / "x.pt", damage, read_arrays


def older_pytorch(folder):
    params = {name: array for name, array in authors_params(10, 1).items() if array.numel() < 300}
    torch.save({"params": params}, folder / "x.pt7", _use_new_zipfile_serialization=False)
    return folder / "x.pt7", mutated, read_arrays


def flags(folder):
    path = folder / "flags"
    path.write_text(
        "--dataset digits --depth 16 --widen-factor 2 --dropout 0.3 --batch-size 32 "
        "--learning-rate 1e-2 --momentum 0.9 --nesterov --weight-decay 5e-4 --seed 1 "
        "--epochs 3 --precision bfloat16 --validation 100 --output runs/x --resume "
        "--override seed batch_size --on-nan restore --save-every 10"
    )

    def read(path):
        try:
            words = shlex.split(path.read_bytes().decode("latin1"))
            read_flags(RunConfig, args=words)
        except UserError:
            raise
        except ValueError:  # the shell's, about quotes
            return
        except SystemExit as ended:
            if ended.code == 2:  # tyro has said what is wrong
                raise UserError("a flag") from ended
            assert ended.code == 0  # it has helped

    return path, mutated, read


def run_logs(folder):
    """The tables from which a run goes on; lines that are none are left out."""
    run = RunFolder(folder, resume=True)
    small_checkpoint(folder / "best.safetensors", asdict(RunConfig()))
    for iteration in range(1, 20):
        run.validations.add(iteration, 2.5 / iteration, *[iteration / 20] * 3)
    path = run.validations.path

    for iteration in range(1, 13):
        run.log.add(iteration, 1, 0.5, 0.5, 0.5)

    def read(path):
        run.start(12, validates=True)
        best, accuracy = run.best()
        assert (best is None) == (accuracy == -1.0)

    return path, mutated, read


def run_curves(folder):
    """What is drawn, of a log that may be damaged; lines that are none are left out."""
    run = RunFolder(folder, resume=True)
    for iteration in range(1, 13):
        run.log.add(iteration, 1, 0.5, 0.5, 0.5)

    def read(path):
        run.start(12, validates=False)
        read_curves(folder)

    return run.log.path, mutated, read


def picture(ending):
    def reader(folder):
        path, volumes = folder / "train" / "b" / f"1.{ending}", digits_module.load().train_volumes
        for number, name in enumerate(("train/a/0", "train/b/1", "test/a/2", "test/b/3")):
            made = folder / f"{name}.{ending}"
            made.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(volumes[number, 0]).save(made)
        return path, mutated, lambda path: load_dataset(str(folder), volume_size=16)

    reader.__name__ = f"picture_{ending}"
    return reader


def recipe(folder):
    path = folder / "mine.toml"
    paper = find_recipe("paper").settings
    path.write_text(
        "".join(
            f"{name} = {json.dumps(value)}\n"
            for name, value in paper.items()
            if value is not None and name != "data_dir"
        )
    )
    return path, mutated, find_recipe


READERS = [
    cifar_file("cifar10", "py", "data_batch_1"),
    cifar_file("cifar10", "py", "batches.meta"),
    cifar_file("cifar100", "py", "train"),
    cifar_file("cifar10", "bin", "test_batch.bin"),
    cifar_file("cifar10", "bin", "batches.meta.txt"),
    archive,
    npz,
    safetensors,
    checkpoint_header,
    pytorch,
    older_pytorch,
    flags,
    recipe,
    picture("png"),
    picture("jpg"),
    npy,
    run_logs,
    run_curves,
    checkpoint_to_classify,
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_damaged_files_give_data_or_one_clear_error(tmp_path, watched, request, capsys, reader):
    path, damage, read = reader(tmp_path)
    whole = path.read_bytes()
    read(path)  # imports what it needs, and is right
    for _ in range(3):
        read_one(path, damage(whole, random.Random(1)), read)
    executed.clear()

    draw, count, refused = random.Random(0), request.config.getoption("--inputs"), 0
    most, slowest = 0, 0.0
    for _ in range(count):
        content = damage(whole, draw)
        with memory_measured() as grown:
            start = time.perf_counter()
            refused += read_one(path, content, read)
            slowest = max(slowest, time.perf_counter() - start)
        most = max(most, *grown)
    capsys.readouterr()
    with capsys.disabled():
        print(
            f"\n{reader.__name__}: {count:,} inputs, {refused:,} refused, at most "
            f"{slowest:.2f} s and {most / 2**20:.0f} MiB"
        )
    assert refused > count / 10 or reader in (run_logs, run_curves)
    assert not executed
    assert slowest < SECONDS and most < GROWTH


def read_one(path, content, read):
    """Whether it was refused; anything else than the errors for users comes through."""
    path.write_bytes(content)
    try:
        read(path)
    except UserError as error:
        said = str(error)
        assert said.isprintable() and 0 < len(said) < 1000, said
        return True
    return False


def npz_with(path, name, content, compression=zipfile.ZIP_DEFLATED):
    """A real .npz file of which one entry is another."""
    labels = np.arange(12)[:, None] % 2
    with zipfile.ZipFile(path, "w", compression) as archive:
        for split in SPLIT_NAMES.values():
            for kind, array in (("images", np.zeros((12, 4, 4, 4), np.uint8)), ("labels", labels)):
                buffer = io.BytesIO()
                np.save(buffer, array)
                entry = f"{split}_{kind}.npy"
                archive.writestr(entry, content if entry == name else buffer.getvalue())
    return path


def array_header(shape, kind="|u1"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content, said",
    [
        (array_header((1 << 20, 1 << 10, 1 << 10, 4)), "does not hold what its header says"),
        (array_header((1 << 62, 1 << 62)), "does not hold what its header says"),
        (array_header((3,), "|O") + b"\x80\x04.", "does not hold what its header says"),
        (array_header((64,) * 4) + bytes(64**4), "must be 64 whole numbers"),  # a thousandfold
        (b"\x93NUMPY\x01\x00\xff\xff" + b" " * 65535, "Header info length"),
    ],
)
def test_an_npz_that_claims_too_much_is_refused_cheaply(tmp_path, content, said):
    path = npz_with(tmp_path / "x.npz", "train_images.npy", content)
    refused_cheaply(load_dataset, str(path), f"x.npz is no .npz file .*{said}")


def test_an_npz_of_more_than_the_memory_is_refused_unread(tmp_path, monkeypatch):
    path = npz_with(
        tmp_path / "x.npz", "train_images.npy", array_header((128,) * 4) + bytes(128**4)
    )
    monkeypatch.setattr(medmnist, "available_memory", lambda: 400e6)
    refused_cheaply(load_dataset, str(path), "its arrays would take 0.3 GiB, more than half of")


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_another_compression_is_refused(tmp_path, compression):
    path = npz_with(tmp_path / "x.npz", "", b"", compression)
    with pytest.raises(UserError, match="compressed as np.savez never does"):
        load_dataset(str(path))


@pytest.mark.parametrize("read", [Checkpoint.load, read_arrays])
@pytest.mark.parametrize("size, claim", [(1 << 40, 0), (None, 1 << 42)])
def test_a_safetensors_header_of_terabytes_is_refused_cheaply(tmp_path, size, claim, read):
    header = json.dumps(
        {"x": {"dtype": "F32", "shape": [claim // 4], "data_offsets": [0, claim]}}
    ).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes((size or len(header)).to_bytes(8, "little") + header)
    refused_cheaply(read, path, "can be read")


@pytest.mark.parametrize(
    "changed",
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
def test_a_checkpoint_with_impossible_numbers_is_refused(tmp_path, changed, monkeypatch):
    path = tmp_path / "x.safetensors"
    monkeypatch.setattr(
        checkpoint.json,
        "dumps",
        lambda value, dumps=json.dumps, **options: dumps(
            value | changed if "epochs_completed" in value else value, **options
        ),
    )
    small_checkpoint(path, asdict(RunConfig()))
    monkeypatch.undo()
    with pytest.raises(UserError, match="x.safetensors is no checkpoint that can be read") as said:
        Checkpoint.load(path)
    assert "checksum" not in str(said.value)


# Each would take a gigabyte, or for ever.
BYTEARRAY = b"\x80\x05\x96" + (600_000_000).to_bytes(8, "little") + b"."
ENCODED = (
    b"\x80\x02X"
    + (10**6).to_bytes(4, "little")
    + b"a" * 10**6
    + b"q\x00("
    + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 1000
    + b"l."
)
# One text of a million letters as the arguments of a hundred calls; a limit that a pickle lifts.
SPREAD = (
    b"\x80\x02cnumpy\nndarray\nq\x01X"
    + (10**6).to_bytes(4, "little")
    + b"a" * 10**6
    + b"q\x00("
    + b"h\x01h\x00R" * 100
    + b"l."
)
LIFTED = (
    b"\x80\x02c_codecs\nencode\nq\x01}X\x04\x00\x00\x00most\x8a\x08"
    + b"\x10" * 8
    + b"sb0X"
    + (10**6).to_bytes(4, "little")
    + b"a" * 10**6
    + b"q\x00("
    + b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R" * 1000
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
MANY = b"\x80\x02](" + b"]" * 30_000_000 + b"e."


@pytest.mark.parametrize(
    "content, said",
    [
        (BYTEARRAY, "no pickle of a CIFAR batch"),
        (ENCODED, "makes more bytes than it has"),
        (SPREAD, "more than a few arguments"),
        (LIFTED, "no pickle of a CIFAR batch"),
        (COLLIDING, "a dictionary with unusual keys"),
        (NESTED_KEY, "a dictionary with unusual keys"),
        (MANY, "takes more than 2,000,000 steps"),
    ],
)
def test_a_cifar_pickle_that_makes_too_much_is_refused_cheaply(tmp_path, content, said):
    made = write_cifar10(tmp_path, "py", per_file=2)
    (made / "data_batch_1").write_bytes(content)
    refused_cheaply(lambda folder: load_dataset("cifar10", folder), tmp_path, said, most=400e6)


TENSOR = b"\x80\x02ctorch\nFloatTensor\nJ" + (2 * 10**8).to_bytes(4, "little") + b"\x85R."
CALLED = b"\x80\x02cbuiltins\nbytearray\nJ" + (10**9).to_bytes(4, "little") + b"\x85R."


@pytest.mark.parametrize(
    "content, said",
    [
        (CALLED, "it holds builtins.bytearray"),
        (TENSOR, "it holds torch.FloatTensor"),
        (SPREAD.replace(b"numpy\nndarray", b"torch\nSize"), "more than a few arguments"),
        (COLLIDING, "a dictionary with unusual keys"),
        (NESTED_KEY, "a dictionary with unusual keys"),
        (MANY, "takes more than 2,000,000 steps"),
        (BYTEARRAY, "holds no weights that can be read"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pytorch_pickle_that_makes_too_much_is_refused_cheaply(tmp_path, zipped, content, said):
    torch.save({"x": torch.zeros(3)}, tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    whole, path = (tmp_path / "whole.pt").read_bytes(), tmp_path / "x.pt"
    if zipped:
        with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(path, "w") as target:
            for entry in source.infolist():
                target.writestr(
                    entry.filename,
                    content if entry.filename.endswith("data.pkl") else source.read(entry),
                )
    else:
        weights = whole.index(b"\x80\x02}q\x00X\x01\x00\x00\x00x")
        path.write_bytes(whole[:weights] + content + whole[whole.index(b".", weights) + 1 :])
    refused_cheaply(read_arrays, path, said, most=400e6)


def test_names_in_a_pytorch_file_are_read_in_any_case_as_pytorch_does(tmp_path):
    torch.save({"x": torch.zeros(3)}, tmp_path / "whole.pt")
    for name, content, said in (
        ("DATA.PKL", CALLED, "it holds builtins.bytearray"),
        ("data.pkl", None, "two entries of one name"),
    ):
        path = tmp_path / "x.pt"
        with zipfile.ZipFile(tmp_path / "whole.pt") as source, zipfile.ZipFile(path, "w") as target:
            for entry in source.infolist():
                if entry.filename.endswith("data.pkl"):
                    target.writestr(
                        entry.filename.replace("data.pkl", name), content or source.read(entry)
                    )
                    if content:
                        continue
                    entry.filename = entry.filename.replace("data.pkl", "DATA.PKL")
                    target.writestr(entry.filename, CALLED)
                else:
                    target.writestr(entry.filename, source.read(entry))
        refused_cheaply(read_arrays, path, said)


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
def test_what_is_no_file_or_cannot_be_held_is_refused(tmp_path, read, name):
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
        file.truncate(1 << 42)  # of zeros, which take no room on the disk
    refused_cheaply(read, str(path), "is larger than the free memory")


@pytest.mark.parametrize("made", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_cifar_file_that_never_ends_is_not_waited_for(tmp_path, made):
    batch = write_cifar10(tmp_path, "bin", per_file=2) / "data_batch_1.bin"
    batch.unlink()
    made(batch)
    refused_cheaply(lambda folder: load_dataset("cifar10", folder), tmp_path, "it is no file")


@pytest.mark.parametrize("version", [20, 99])  # that is needed; 99 zipfile refuses, torch ignores
def test_a_compressed_pytorch_file_is_refused_cheaply(tmp_path, version):
    torch.save({"params": {"conv0": torch.zeros(40_000_000)}}, tmp_path / "large.pt")
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
    refused_cheaply(read_arrays, bomb, "bomb.pt holds no weights that can be read")
