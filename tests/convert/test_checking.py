"""`--check` says whether a converted network gives PyTorch's logits."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.support.processes import run_command
from tests.support.pytorch_networks import authors_logits, authors_params
from wrn3d import Checkpoint
from wrn3d.convert.__main__ import ConvertConfig, convert
from wrn3d.system.errors import DataError, UsageError

PARAMS = authors_params(16, 2)
INPUTS = np.random.default_rng(0).standard_normal((5, 3, 12, 8)).astype(np.float32)


def torch_logits(inputs=INPUTS, **function):
    return authors_logits(PARAMS, torch.tensor(inputs), training=False, **function).numpy()


LOGITS = torch_logits()
CONFIRMED = "checked    the logits of 5 inputs differ by at most "


def files(folder, inputs=INPUTS, logits=LOGITS, saved=PARAMS, **options):
    """Write the files and return the command's settings."""
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "logits.npy", logits)
    torch.save(saved, folder / "x.pt")
    check = (folder / "inputs.npy", folder / "logits.npy")
    return ConvertConfig(folder / "x.pt", folder / "x.safetensors", check=check, **options)


def test_the_same_logits_are_confirmed(tmp_path, capsys):
    convert(files(tmp_path))
    printed = capsys.readouterr().out
    assert "assumed    ReLU; batch norm's epsilon 1e-05 (momentum 0.1 in training); " in printed
    assert CONFIRMED in printed
    assert Checkpoint.load(tmp_path / "x.safetensors").weights


def test_a_normalising_wrapper_takes_the_inputs_as_they_are(tmp_path, capsys):
    wrapper = {"mu": torch.full((1, 3, 1, 1), 0.5), "sigma": torch.full((1, 3, 1, 1), 0.25)}
    logits = torch_logits((INPUTS - 0.5) / 0.25)
    convert(files(tmp_path, logits=logits.astype(np.float64), saved=PARAMS | wrapper))
    assert CONFIRMED in capsys.readouterr().out


def test_3d_kernels_take_volumes(tmp_path, capsys):
    deep = {
        name: F.pad(x[:, :, None], (0,) * 4 + (x.shape[-1] // 2,) * 2) if x.ndim == 4 else x
        for name, x in PARAMS.items()
    }
    convert(files(tmp_path, INPUTS[:, :, None], saved=deep, kernels="whole"))
    assert CONFIRMED in capsys.readouterr().out


@pytest.mark.parametrize(
    "function",
    [
        {"activation": partial(F.leaky_relu, negative_slope=0.1)},
        {"epsilon": 1e-3},
        {"raw_groups": (1, 2)},
    ],
)
def test_another_function_is_refused_and_nothing_is_written(tmp_path, function):
    config = files(tmp_path, logits=torch_logits(**function))
    with pytest.raises(DataError, match="another activation, epsilon or shortcut") as raised:
        convert(config)
    assert str(raised.value).startswith(f"{tmp_path / 'logits.npy'} has other logits than the conv")
    assert not config.target.exists()


@pytest.mark.slow
def test_the_command_ends_with_status_1_if_the_logits_differ(tmp_path):
    config = files(tmp_path, logits=LOGITS[::-1])
    process = run_command(
        "-m", "wrn3d.convert", config.source, config.target, "--check", *config.check
    )
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "logits.npy has other logits than the converted network: " in process.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"inputs.npy", "logits.npy", "x.pt"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"inputs": INPUTS.transpose(0, 2, 3, 1)}, r"inputs.npy is \(5, 12, 8, 3\), but must be"),
        ({"inputs": INPUTS[0]}, r"inputs.npy is \(3, 12, 8\), but must be PyTorch's \(N, 3, hei"),
        ({"inputs": INPUTS[:0]}, r"inputs.npy is \(0, 3, 12, 8\), but must be"),
        ({"inputs": INPUTS.astype(np.uint8)}, "inputs.npy is uint8, but must have floats"),
        ({"inputs": INPUTS * np.nan}, "inputs.npy has NaN or infinite numbers"),
        ({"logits": LOGITS[:4]}, r"logits.npy is \(4, 10\), but must be \(5, 10\), the logits of"),
        ({"logits": LOGITS.argmax(1)}, "logits.npy is int64, but must have floats"),
        ({"logits": LOGITS + np.inf}, "logits.npy has NaN or infinite numbers"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        convert(files(tmp_path, **changes))
    assert not (tmp_path / "x.safetensors").exists()


def test_the_check_needs_a_file_of_pytorch_and_its_kernels(tmp_path):
    with pytest.raises(UsageError, match="--check is for images, where --kernels inflated"):
        convert(files(tmp_path, kernels="inflated"))
    config = files(tmp_path)
    convert(ConvertConfig(config.source, config.target))
    with pytest.raises(UsageError, match="--network and --check are for PyTorch files, but "):
        convert(ConvertConfig(config.target, tmp_path / "y.pt", check=config.check))
    (tmp_path / "logits.npy").write_text("1 2 3")
    with pytest.raises(DataError, match="logits.npy cannot be read as a NumPy file"):
        convert(config)
