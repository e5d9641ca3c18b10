"""The command that converts weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.convert.arrays import ARRAYS, as_arrays, assert_equal, without
from tests.support.environments import small_environment
from tests.support.processes import run_command
from tests.support.pytorch_networks import Blocks, authors_logits, authors_params
from wrn3d import Checkpoint, Dataset
from wrn3d.convert.__main__ import ConvertConfig, convert
from wrn3d.convert.pytorch_files import read_arrays
from wrn3d.convert.pytorch_weights import from_pytorch
from wrn3d.system.errors import DataError, UserError
from wrn3d.training import shipped
from wrn3d.training.checkpoint import slim


def test_the_command_converts_there_and_back(tmp_path):
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    torch.save({"params": authors_params(16, 2)}, tmp_path / "pytorch.pt7")
    process = run_command("-m", "wrn3d.convert", tmp_path / "pytorch.pt7", there)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith(f"{there}: WRN-16-2, 2,047,290 parameters")
    assert "dataset=..., depth=16, widen_factor=2, shortcut='projection'" in process.stdout
    loaded = Checkpoint.load(there)
    assert (loaded.momentum, loaded.iteration) == ({}, 0)

    for target in (back, tmp_path / "back.pt"):
        convert(ConvertConfig(there, target, naming="wideresnet-pytorch"))
    state = torch.load(tmp_path / "back.pt", weights_only=True)
    Blocks(16, 2).load_state_dict(state)
    assert_equal(as_arrays(state), load_file(back))


def test_the_command_ends_with_one_sentence(tmp_path):
    source = tmp_path / "in.safetensors"
    save_file(without("bn.bias"), source)
    process = run_command("-m", "wrn3d.convert", source, tmp_path / "out.safetensors")
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {source}: bn.bias is missing")
    assert process.stderr.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "source, target, message",
    [
        ("a.pt", "a.pt", "a.pt is both source and target"),
        ("in.safetensors", "out.pt", "in.safetensors does not exist"),
        ("weights.pt", "out.pt", "out.pt is not a name for a checkpoint .* end it in .safetensors"),
    ],
)
def test_both_files_need_a_name_that_fits(tmp_path, source, target, message):
    (tmp_path / "weights.pt").touch()
    with pytest.raises(UserError, match=message):
        convert(ConvertConfig(tmp_path / source, tmp_path / target))


@pytest.mark.parametrize("strides", [[1, 2, 3], 5, "x" * 999, [2] * 999])
def test_impossible_strides_are_named(tmp_path, strides):
    Checkpoint(from_pytorch(ARRAYS)[1], config={"strides": strides}).save(tmp_path / "source")
    with pytest.raises(DataError, match="source: strides") as caught:
        convert(ConvertConfig(tmp_path / "source", tmp_path / "target.pt"))
    assert len(str(caught.value)) < 400 and not (tmp_path / "target.pt").exists()


def test_a_trained_network_for_volumes_computes_the_same_in_pytorch(tmp_path, monkeypatch, capsys):
    """Check a network by its name, with strides 2, 2, 2 as in the recipe for volumes."""
    monkeypatch.setattr(shipped, "FOLDERS", (tmp_path,))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    volumes = rng.integers(0, 256, (8, 16, 16, 16, 1), np.uint8)
    data = Dataset.from_arrays(volumes, np.arange(8) % 2)
    settings = {"shortcut": "projection", "strides": (2, 2, 2)}
    env = small_environment("keras", data=data, batch_size=4, **settings)
    env.step()
    slim(env.snapshot(), {"strides": (2, 2, 2)}).save(tmp_path / "volumes.safetensors")
    env.load("volumes")
    convert(ConvertConfig(Path("volumes"), tmp_path / "x.pth", kernels="whole"))
    assert capsys.readouterr().out.endswith(
        "3D kernels\nstrides    2 2 2: the PyTorch network needs these, too\n"
    )
    params = torch.load(tmp_path / "x.pth", weights_only=True)["params"]
    x = env.dataset.normalise(volumes)
    theirs = authors_logits(params, torch.tensor(x).movedim(-1, 1), False, strides=(2, 2, 2))
    np.testing.assert_allclose(env.predict(x), theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_the_ema_is_converted_if_there_is_one(tmp_path):
    weights = from_pytorch(ARRAYS)[1]
    last = {name: array + 1 for name, array in weights.items()}
    Checkpoint(last, average=weights).save(tmp_path / "source")
    convert(ConvertConfig(tmp_path / "source", tmp_path / "target.pt"))
    assert_equal(read_arrays(tmp_path / "target.pt"), ARRAYS)
