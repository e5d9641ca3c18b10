"""Every reader of outside files: a small real file, how to damage it, and how to read it.

Each function of READERS makes the file in a folder. It returns a Reader.
"""

import gzip
import hashlib
import io
import json
import shlex
import shutil
import tarfile
import zipfile
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from tests.fuzz.mutation import mutated
from tests.support.cifar_files import write_cifar10, write_cifar100
from tests.support.pytorch_networks import authors_params
from tests.support.runs import small_checkpoint
from tests.support.scan_files import write_scan, write_series
from wrn3d import Checkpoint, WideResNetSpec, initial_weights, load_dataset
from wrn3d.convert.pytorch_files import read_arrays
from wrn3d.data import digits, download
from wrn3d.data.dataset import SPLIT_NAMES
from wrn3d.data.npy import as_volume, open_array
from wrn3d.data.scans import read_header, read_scan
from wrn3d.runs.command import read_flags
from wrn3d.runs.config import RunConfig
from wrn3d.runs.curves import read_curves
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.resuming import starting_point
from wrn3d.system.errors import UserError
from wrn3d.training.checkpoint import is_checkpoint
from wrn3d.training.recipes import find_recipe
from wrn3d.training.trained import TrainedNetwork


class Reader(NamedTuple):
    path: Path
    read: Callable  # of the path
    damage: Callable = mutated  # of the file's bytes and a random.Random


def cifar(dataset, layout, name, folder):
    write = (
        partial(write_cifar10, per_file=2)
        if dataset == "cifar10"
        else partial(write_cifar100, test_count=2)
    )
    return Reader(write(folder, layout) / name, lambda path: load_dataset(dataset, folder))


def archive(folder):
    """Give each damaged archive its own checksum: a wrong one is refused before unpacking."""
    made, target = write_cifar10(folder / "made", "py", per_file=1), folder / "data"
    path = folder / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(made, made.name)

    def damage(content, draw):
        if draw.random() < 0.3:
            return mutated(content, draw)
        return gzip.compress(mutated(gzip.decompress(content), draw), 1)

    def read(path):
        official = download.Archive(
            path.name, hashlib.md5(path.read_bytes()).hexdigest(), made.name
        )
        shutil.copy(path, target)
        try:
            download.find_or_fetch("CIFAR-10", [official], target)
        finally:
            assert {file.name for file in folder.iterdir()} == {"made", "data", path.name}
            assert {file.name for file in target.iterdir()} <= {made.name, path.name}
            shutil.rmtree(target / made.name, ignore_errors=True)

    target.mkdir()
    return Reader(path, read, damage)


def npz(folder):
    volumes = np.random.default_rng(0).integers(0, 2, (12, 8, 8, 8), dtype=np.uint8)
    arrays = {
        f"{split}_{kind}": value
        for split in SPLIT_NAMES.values()
        for kind, value in (("images", volumes), ("labels", np.arange(12)[:, None] % 2))
    }
    np.savez_compressed(folder / "volumes.npz", **arrays)
    damage = partial(damaged_zip, likely=lambda name: 0.4)
    return Reader(folder / "volumes.npz", lambda path: load_dataset(str(path)), damage)


def damaged_zip(content, draw, likely, compressions=(zipfile.ZIP_DEFLATED,)):
    """Damage the bytes of the file, or else each of its entries with probability `likely`."""
    if draw.random() < 0.5:
        return mutated(content, draw)
    damaged = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as intact,
        zipfile.ZipFile(damaged, "w", draw.choice(compressions)) as packed,
    ):
        for entry in intact.infolist():
            inner = intact.read(entry)
            if draw.random() < likely(entry.filename):
                inner = mutated(inner, draw)
            packed.writestr(entry.filename, inner)
    return damaged.getvalue()


def npy(folder):
    np.save(folder / "x.npy", digits.load().test_volumes[0])
    return Reader(folder / "x.npy", lambda path: as_volume("x", open_array(path), (1, 32, 32, 3)))


def scan(ending, folder):
    """Read a scan of 20,000 voxels, and its header alone."""
    voxels = np.random.default_rng(0).integers(-900, 900, (20, 40, 25)).astype(np.int16)
    if ending == ".dcm":
        path, damage = min(write_series(folder / "series", voxels[:1]).iterdir()), damaged_dicom
    else:
        damage = mutated
        path = write_scan(folder / f"x{ending}", voxels, (2.5, 0.8, 0.7), "LPS")

    def read(path):
        read_header(path)
        read_scan(path)

    return Reader(path, read, damage)


def damaged_dicom(content, draw):
    """Cut the file, or damage its pixels alone: the library takes as much as a length claims."""
    if draw.random() < 0.5:
        return content[: draw.randrange(len(content))]
    pixels = len(content) - 40 * 25 * 2
    return content[:pixels] + mutated(content[pixels:], draw)


def table(folder):
    import sklearn.model_selection  # noqa: F401 - which a table without splits would import

    lines = ["path,label,split,group"]
    for row in range(12):
        np.save(folder / f"{row}.npy", np.arange(64).reshape(4, 4, 4) + row)
        lines.append(f"{row}.npy,{row % 2},{'test' if row < 4 else 'train'},{row}")
    (folder / "x.csv").write_text("\n".join(lines))
    return Reader(folder / "x.csv", load_dataset)


def picture(ending, folder):
    for number, name in enumerate(("train/a/0", "train/b/1", "test/a/2", "test/b/3")):
        path = folder / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.load().train_volumes[number, 0]).save(path)
    return Reader(path, lambda path: load_dataset(str(folder), volume_size=16))


def webp(folder):
    """Leave the size in the header: the decoder takes the memory of a picture of that size."""

    def damage(content, draw):
        return content[:30] + mutated(content[30:], draw)

    return picture("webp", folder)._replace(damage=damage)


def safetensors(folder):
    small_checkpoint(folder / "x.safetensors", asdict(RunConfig()))

    def read(path):
        is_checkpoint(path)
        read_arrays(path)

    return Reader(folder / "x.safetensors", read)


def damaged_settings(saved, names, content, draw):
    """Damage these fields of a Checkpoint, and save it with a valid checksum."""
    fields = json.dumps({name: getattr(saved, name) for name in names}, default=str)
    text = mutated(fields.encode(), draw).decode("latin1")
    path = Path(f"{draw.getrandbits(64)}.safetensors")  # in the test's own folder
    try:
        replace(saved, **json.loads(text)).save(path)
    except (ValueError, TypeError, RecursionError):  # invalid JSON, or JSON of another kind
        return mutated(content, draw)
    content = path.read_bytes()
    path.unlink()
    return content


def checkpoint(folder):
    """Resume a run whose settings and position are damaged."""
    path = folder / "checkpoint-00000007.safetensors"
    saved = small_checkpoint(path, asdict(RunConfig()))
    names = ("config", "iteration", "epochs_completed", "index_in_epoch", "learning_rate_scale")

    def read(path):
        starting_point(RunConfig(output=folder, resume=True), RunFolder(folder, resume=True))
        Checkpoint.load(path)

    return Reader(path, read, partial(damaged_settings, saved, names))


def checkpoint_to_predict(folder):
    """Read, as a classifier does, the network of a checkpoint with damaged settings."""
    spec = WideResNetSpec(10, 1, input_shape=(1, 8, 8, 1))
    settings = {"depth": 10, "widen_factor": 1, "dropout": 0.0, "shortcut": "pad"}
    settings |= {"strides": [1, 2, 2], "precision": "float32", "classes": list("0123456789")}
    mean, std = np.zeros((1, *spec.input_shape), np.float32), np.ones(1, np.float32)
    saved = Checkpoint(
        initial_weights(spec, 0), config=settings, normalisation={"mean": mean, "std": std}
    )
    saved.save(folder / "x.safetensors")

    def read(path):
        TrainedNetwork.of(Checkpoint.load(path), path)

    return Reader(folder / "x.safetensors", read, partial(damaged_settings, saved, ["config"]))


def pytorch(zipped, folder):
    params = {name: array for name, array in authors_params(10, 1).items() if array.numel() < 300}
    saved = {
        "params": params,
        "optimizer": {"state": {140_234_567_890_123: {"momentum_buffer": params["fc.bias"]}}},
        "history": defaultdict(list, loss=[2.3]),
        "args": Namespace(out=Path("runs"), device=torch.device("cpu"), seeds={1, 2}),
        "best": np.float64(0.9),
    }
    torch.save(saved, folder / "x.pt", _use_new_zipfile_serialization=zipped)
    damage = partial(
        damaged_zip,
        likely=lambda name: 0.9 if name.endswith("data.pkl") else 0.1,
        compressions=(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
    )
    return Reader(folder / "x.pt", read_arrays, damage if zipped else mutated)


def recipe(folder):
    settings = find_recipe("paper").settings.items()
    lines = [
        f"{name} = {json.dumps(value)}\n"
        for name, value in settings
        if value is not None and name != "data_dir"
    ]
    (folder / "mine.toml").write_text("".join(lines))
    return Reader(folder / "mine.toml", find_recipe)


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
        except ValueError:  # the shell's, about quotes
            return
        try:
            read_flags(RunConfig, "script", "", words)
        except SystemExit as ended:
            assert ended.code in (0, 2)  # it printed its help or an error
            if ended.code == 2:
                raise UserError("a flag") from ended

    return Reader(path, read)


def log(name, folder):
    """Resume a run with a damaged log, and draw it: incomplete lines are left out."""
    run = RunFolder(folder, resume=True)
    small_checkpoint(folder / "best.safetensors", asdict(RunConfig()))
    for iteration in range(1, 20):
        run.log.buffer(iteration, 1, 0.5, 0.5, 0.5)
        run.validations.buffer(iteration, 2.5 / iteration, *[iteration / 20] * 3)
    run.log.write()
    run.validations.write()

    def read(path):
        run.start(12, validates=True)
        best, accuracy = run.best()
        assert (best is None) == (accuracy == -1.0)
        read_curves(folder)

    return Reader(getattr(run, name).path, read)


LOGS = {"log": partial(log, "log"), "validations": partial(log, "validations")}
READERS = {
    "cifar10-batch": partial(cifar, "cifar10", "py", "data_batch_1"),
    "cifar10-names": partial(cifar, "cifar10", "py", "batches.meta"),
    "cifar100-batch": partial(cifar, "cifar100", "py", "train"),
    "cifar10-binary-batch": partial(cifar, "cifar10", "bin", "test_batch.bin"),
    "cifar10-binary-names": partial(cifar, "cifar10", "bin", "batches.meta.txt"),
    "archive": archive,
    "npz": npz,
    "npy": npy,
    **{ending: partial(picture, ending) for ending in ("png", "jpg", "bmp", "gif", "tif")},
    "webp": webp,
    **{
        ending[1:]: partial(scan, ending) for ending in (".nii", ".nii.gz", ".nrrd", ".mha", ".dcm")
    },
    "table": table,
    "safetensors": safetensors,
    "checkpoint": checkpoint,
    "checkpoint-to-predict": checkpoint_to_predict,
    "pytorch": partial(pytorch, True),
    "older-pytorch": partial(pytorch, False),
    "recipe": recipe,
    "flags": flags,
    **LOGS,
}
