"""Weights from PyTorch files and back, against PyTorch networks with the published names."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from safetensors import torch as safetensors_torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional as F

import wrn3d
from tests.support.environments import environment_class
from tests.support.processes import run_command
from tests.support.pytorch_networks import Blocks, authors_logits, authors_params
from wrn3d import Checkpoint, WideResNetSpec
from wrn3d.convert.__main__ import ConvertConfig, convert
from wrn3d.convert.pytorch_files import read_arrays
from wrn3d.convert.pytorch_weights import NAMINGS, from_pytorch, to_pytorch
from wrn3d.network import ops
from wrn3d.network.variables import assign, named_variables
from wrn3d.system.errors import DataError, UsageError, UserError
from wrn3d.system.randomness import dropout_position, dropout_shares

RATE, LEARNING_RATE, BATCH = 0.3, 0.01, 16
ARRAYS = {name: tensor.numpy() for name, tensor in authors_params(16, 2).items()}


def same_mask(name, x):
    """The dropout that the first iteration of a run with seed 0 has there."""
    count, channels, height, width = x.shape
    mask = ops.dropout(
        tf.ones((count, 1, height, width, channels)),
        dropout_shares(RATE),
        dropout_position(0, f"{name}.dropout", 0),
    )
    return x * torch.tensor(mask.numpy()[:, 0]).movedim(-1, 1)


class Authors:
    """The authors' network with its dictionary."""

    def __init__(self, dropout):
        self.params = authors_params(16, 2)
        self.dropout = same_mask if dropout else lambda name, x: x
        self.trained = [
            tensor.requires_grad_() for name, tensor in self.params.items() if "running" not in name
        ]

    def saved(self):
        return {"params": self.params, "epoch": 7, "optimizer": {"state": {}, "param_groups": []}}

    def logits(self, x, training):
        return authors_logits(
            self.params, x, training, self.dropout if training else lambda name, x: x
        )


class WideResNetPytorch:
    """WideResNet-pytorch's, in the file as a parallel wrapper saves it."""

    def __init__(self, dropout):
        self.training = False
        self.model = Blocks(16, 2, dropout=self.drop if dropout else lambda block, x: x)
        self.model.load_state_dict(
            {
                name: torch.tensor(array)
                for name, array in to_pytorch(from_pytorch(ARRAYS)[1], "wideresnet-pytorch").items()
            }
        )
        self.names = {
            block: f"group{group}.block{number}"
            for group in range(3)
            for number, block in enumerate(getattr(self.model, f"block{group + 1}").layer)
        }
        self.trained = list(self.model.parameters())

    def drop(self, block, x):
        return same_mask(self.names[block], x) if self.training else x

    def saved(self):
        state = {f"module.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return {"epoch": 3, "state_dict": state, "best_prec1": 0.9}

    def logits(self, x, training):
        self.training = training
        return self.model.train(training)(x)


def to_torch(volumes):
    return torch.tensor(volumes[:, 0]).movedim(-1, 1)


@pytest.mark.parametrize("dropout", [0.0, RATE], ids=["plain", "dropout"])
@pytest.mark.parametrize(
    "front_end, network", [("tensorlayer", Authors), ("keras", WideResNetPytorch)]
)
def test_converted_weights_give_pytorchs_logits_and_training_step(
    tmp_path, front_end, network, dropout
):
    theirs = network(dropout)
    torch.save(theirs.saved(), tmp_path / "their.pt")
    convert(ConvertConfig(tmp_path / "their.pt", tmp_path / "ours.safetensors"))
    env = environment_class(front_end)(
        dataset="digits",
        depth=16,
        widen_factor=2,
        shortcut="projection",
        dropout=dropout,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
    )
    env.step()  # what is loaded replaces another state
    env.load(tmp_path / "ours.safetensors")
    assert (env.iteration, env.epochs_completed, env.index_in_epoch) == (0, 0, 0)

    test = env.dataset.normalise(env.dataset.test_volumes[:20])

    def assert_same_logits():
        expected = theirs.logits(to_torch(test), training=False).detach().numpy()
        assert np.abs(env.predict(test) - expected).max() < 1e-4
        assert np.abs(expected).max() > 0.5

    assert_same_logits()
    before = env.get_weights()
    volumes, labels = env.next_batch(BATCH)
    env.load(tmp_path / "ours.safetensors")
    result = env.step()
    loss = F.cross_entropy(theirs.logits(to_torch(volumes), training=True), torch.tensor(labels))
    loss.backward()
    assert abs(result.loss - loss.item()) < 1e-4
    with torch.no_grad():
        for tensor in theirs.trained:
            tensor -= LEARNING_RATE * tensor.grad
    torch.save(theirs.saved(), tmp_path / "later.pt")
    for name, expected in from_pytorch(read_arrays(tmp_path / "later.pt"))[1].items():
        assert np.abs(env.get_weights()[name] - expected).max() < 1e-4, name
    assert any(
        np.abs(before[name] - array).max() > 1e-4 for name, array in env.get_weights().items()
    )
    assert_same_logits()


@pytest.mark.parametrize("strides", [[2, 2, 2], 5, "x" * 999])
def test_a_network_with_other_strides_is_no_pytorch_network(tmp_path, strides):
    Checkpoint(from_pytorch(ARRAYS)[1], config={"strides": strides}).save(tmp_path / "ours")
    with pytest.raises(UsageError, match="ours is of a network of the strides ") as caught:
        convert(ConvertConfig(tmp_path / "ours", tmp_path / "their.pt"))
    assert len(str(caught.value)) < 400 and not (tmp_path / "their.pt").exists()


def test_what_is_evaluated_is_what_is_converted(tmp_path):
    weights = from_pytorch(ARRAYS)[1]
    last = {name: array + 1 for name, array in weights.items()}
    Checkpoint(last, average=weights).save(tmp_path / "ours")
    convert(ConvertConfig(tmp_path / "ours", tmp_path / "their.pt"))
    assert_equal(read_arrays(tmp_path / "their.pt"), ARRAYS)


@pytest.mark.parametrize("naming", NAMINGS)
def test_there_and_back_changes_no_bit(naming):
    spec, weights = from_pytorch(ARRAYS)
    assert (spec.depth, spec.widen_factor, spec.shortcut) == (16, 2, "projection")
    again = from_pytorch(
        {f"module.{name}": array for name, array in to_pytorch(weights, naming).items()}
    )
    assert again[0] == spec
    assert_equal(again[1], weights)
    assert_equal(to_pytorch(again[1]), ARRAYS)


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert np.array_equal(left[name], right[name]), name


def test_3d_kernels_stay_whole():
    spec = WideResNetSpec(10, 1, input_shape=(8, 8, 8, 1), num_classes=2, shortcut="projection")
    weights = wrn3d.initial_weights(spec, 4)
    theirs = to_pytorch(weights, "modules", "whole")
    assert theirs["group0.block0.conv0.weight"].shape == (16, 16, 3, 3, 3)
    assert_equal(from_pytorch(theirs)[1], weights)


def test_inflated_kernels_see_equal_slices_as_the_2d_network_does(digits):
    images = digits.normalise(digits.test_volumes[:4])[:, :, :16, :16]
    arrays = {name: tensor.numpy() for name, tensor in authors_params(10, 1).items()}

    def activations(volumes, kernels):
        spec = WideResNetSpec(10, 1, input_shape=volumes.shape[1:], shortcut="projection")
        model = wrn3d.keras_model(spec)
        assign(named_variables(model), from_pytorch(arrays, kernels)[1], "weights")
        return keras.Model(model.input, model.get_layer("bn").output)(volumes).numpy()

    flat = activations(images, "centre")
    deep = activations(np.repeat(images, 32, axis=1), "inflated")
    assert deep.shape[1] == 8  # slices; what the ends' padding changes reaches three of them
    for number in (3, 4):
        assert np.abs(deep[:, number] - flat[:, 0]).max() < 1e-4 * np.abs(flat).max()
    assert np.abs(deep[:, 0] - flat[:, 0]).max() > 1e-2 * np.abs(flat).max()
    back = to_pytorch(from_pytorch(arrays, "inflated")[1], kernels="inflated")
    for name, array in arrays.items():
        np.testing.assert_allclose(back[name], array, rtol=1e-6, atol=1e-7)


def test_older_files_of_the_authors_keep_the_averages_apart(tmp_path):
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


def without(name):
    return {key: array for key, array in ARRAYS.items() if key != name}


@pytest.mark.parametrize(
    "arrays, said",
    [
        (
            without("group1.block0.bn1.running_var"),
            "group1.block0.bn1.running_var is missing, which a WRN-16-2 has",
        ),
        (without("group0.block1.conv0"), "group0.block1.conv0 is missing, which a WRN-16-2 has"),
        (without("fc.bias"), "fc.bias is missing, which every Wide ResNet has"),
        (
            ARRAYS | {"group0.block0.conv9": ARRAYS["conv0"]},
            "group0.block0.conv9 is left over, which a WRN-16-2 does not have",
        ),
        (
            ARRAYS | {"group2.block1.conv1": ARRAYS["conv0"]},
            "group2.block1.conv1 is (16, 3, 3, 3), but (128, 128, 3, 3) in a WRN-16-2",
        ),
        (ARRAYS | {"group0.block0.conv0": ARRAYS["conv0"][0, 0, 0]}, "group0.block0.conv0 is (3,)"),
        ({"layer1.0.conv1.weight": ARRAYS["conv0"]}, "none of conv0, conv0.weight, conv1.weight"),
    ],
)
def test_what_does_not_fit_is_named(arrays, said):
    with pytest.raises(DataError) as raised:
        from_pytorch(arrays)
    assert str(raised.value).startswith(said)


def test_a_flat_kernel_is_not_whole():
    with pytest.raises(DataError, match="its kernels are 2D"):
        from_pytorch(ARRAYS, "whole")


class Code:
    def __reduce__(self):
        return (open, ("executed", "w"))


CONTENTS = {
    "code": Code(),
    "a list": [1, 2],
    "a number inside": {"conv0": 3},
    "no name": {0: torch.ones(1)},
    "nothing beside": {"params": {"conv0": torch.ones(1)}, "stats": None},
    "sparse": {"conv0": torch.eye(3).to_sparse()},
    "complex": {"conv0": torch.ones(1) * 1j},
    "quantized": {"conv0": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
    "no values": {"conv0": torch.ones(3, device="meta")},
    "a claim": {"conv0": torch.ones(1).expand(10**9)},
}


@pytest.mark.parametrize("content", [*CONTENTS, "cut", "empty", "text"])
def test_files_that_are_no_weights_end_with_a_sentence(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    torch.save(CONTENTS.get(content, authors_params(10, 1)), path)
    whole = path.read_bytes()
    if content in ("cut", "empty", "text"):
        path.write_bytes({"cut": whole[:-1000], "empty": b"", "text": b"weights\n"}[content])
    with pytest.raises(UserError) as raised:
        convert(ConvertConfig(path, tmp_path / "out.safetensors"))
    said = str(raised.value)
    assert said.startswith(str(path)) and "\n" not in said and "\x1b" not in said
    assert ("it holds io.open)" in said) == (content == "code")
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pt"]  # nothing ran, or is left


def test_the_pad_shortcut_cannot_go_to_pytorch():
    with pytest.raises(DataError, match="pad shortcut"):
        to_pytorch(wrn3d.initial_weights(WideResNetSpec(10, 1), 0))


def test_the_command_converts_there_and_back(tmp_path):
    torch.save({"params": authors_params(16, 2)}, tmp_path / "theirs.pt7")
    process = run_command(
        "-m", "wrn3d.convert", tmp_path / "theirs.pt7", tmp_path / "ours.safetensors"
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith(f"{tmp_path / 'ours.safetensors'}: WRN-16-2, 2,047,290 param")
    assert "dataset=..., depth=16, widen_factor=2, shortcut='projection'" in process.stdout
    loaded = Checkpoint.load(tmp_path / "ours.safetensors")
    assert (loaded.momentum, loaded.iteration) == ({}, 0)

    for target in ("back.pt", "back.safetensors"):
        process = run_command(
            "-m",
            "wrn3d.convert",
            tmp_path / "ours.safetensors",
            tmp_path / target,
            "--naming",
            "wideresnet-pytorch",
        )
        assert (process.returncode, process.stderr) == (0, "")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    network = Blocks(16, 2)
    network.load_state_dict(back)
    assert_equal(
        {name: tensor.numpy() for name, tensor in back.items()},
        load_file(tmp_path / "back.safetensors"),
    )


@pytest.mark.parametrize(
    "make, status, said",
    [
        (lambda path: None, 1, "is not there"),
        (lambda path: save_file(without("bn.bias"), path), 1, "bn.bias is missing"),
    ],
)
def test_the_command_ends_with_a_sentence(tmp_path, make, status, said):
    source = tmp_path / "in.safetensors"
    make(source)
    process = run_command("-m", "wrn3d.convert", source, tmp_path / "out.safetensors")
    assert process.returncode == status
    assert process.stderr.startswith(f"error: {source}") and said in process.stderr
    assert process.stderr.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_a_file_is_not_converted_onto_itself(tmp_path):
    with pytest.raises(UserError, match="is what is read"):
        convert(ConvertConfig(tmp_path / "a.pt", tmp_path / "a.pt"))


def test_a_checkpoint_is_not_named_as_pytorchs_file(tmp_path):
    with pytest.raises(UserError, match="out.pt will be a checkpoint .* a .safetensors file"):
        convert(ConvertConfig(tmp_path / "in.pt", tmp_path / "out.pt"))
