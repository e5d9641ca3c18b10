"""Files of PyTorch weights, including damaged and malicious ones."""

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors_torch

from tests.convert.arrays import ARRAYS, assert_equal
from tests.support.pytorch_networks import authors_params
from wrn3d.convert.__main__ import ConvertConfig, convert
from wrn3d.convert.pytorch_files import read_arrays
from wrn3d.convert.pytorch_weights import from_pytorch
from wrn3d.system.errors import UserError


def test_older_files_of_the_authors_have_the_averages_apart(tmp_path):
    params, stats = (
        {
            name: tensor
            for name, tensor in authors_params(16, 2).items()
            if ("running" in name) == averages
        }
        for averages in (False, True)
    )
    torch.save(
        {"params": params, "stats": stats, "epoch": 200},
        tmp_path / "model.pt7",
        _use_new_zipfile_serialization=False,
    )
    assert_equal(from_pytorch(read_arrays(tmp_path / "model.pt7"))[1], from_pytorch(ARRAYS)[1])


@pytest.mark.parametrize("name", ["half.pt", "half.safetensors"])
def test_half_precision_becomes_float32(tmp_path, name):
    tensors = {name: tensor.bfloat16() for name, tensor in authors_params(16, 2).items()}
    write = safetensors_torch.save_file if name.endswith("safetensors") else torch.save
    write(tensors, tmp_path / name)
    weights = from_pytorch(read_arrays(tmp_path / name))[1]
    assert weights["conv0"].dtype == np.float32
    assert 0 < np.abs(weights["conv0"] - from_pytorch(ARRAYS)[1]["conv0"]).max() < 1e-2


class Code:
    def __reduce__(self):
        return (open, ("executed", "w"))


CONTENTS = {
    "code": Code(),
    "a list": [1, 2],
    "a number inside": {"conv0": 3},
    "no name": {0: torch.ones(1)},
    "nothing beside": {"params": {"conv0": torch.ones(1)}, "stats": None},
    "a claim": {"conv0": torch.ones(1).expand(10**9)},
}


@pytest.mark.parametrize("content", [*CONTENTS, "cut", "empty", "text"])
def test_other_files_are_refused_and_run_no_code(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    torch.save(CONTENTS.get(content, authors_params(10, 1)), path)
    whole = path.read_bytes()
    if content in ("cut", "empty", "text"):
        path.write_bytes({"cut": whole[:-1000], "empty": b"", "text": b"weights\n"}[content])
    with pytest.raises(UserError) as raised:
        convert(ConvertConfig(path, tmp_path / "out.safetensors"))
    message = str(raised.value)
    assert message.startswith(str(path)) and "\n" not in message and "\x1b" not in message
    assert ("io.open" in message) == (content == "code")
    # No code ran, and nothing is left behind.
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pt"]
