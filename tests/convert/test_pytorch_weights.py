"""Weights from PyTorch and back, against PyTorch networks with the published names."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from torch.nn import functional as F

import wrn3d
from tests.convert.arrays import ARRAYS, as_arrays, assert_equal, without
from tests.support.environments import small_environment
from tests.support.pytorch_networks import Blocks, authors_logits, authors_params
from wrn3d import WideResNetSpec
from wrn3d.convert.__main__ import ConvertConfig, convert
from wrn3d.convert.pytorch_files import read_arrays
from wrn3d.convert.pytorch_weights import NAMINGS, from_pytorch, to_pytorch
from wrn3d.network import ops
from wrn3d.network.variables import assign, named_variables
from wrn3d.system.errors import DataError
from wrn3d.system.randomness import dropout_position, dropout_shares

RATE, LEARNING_RATE, BATCH = 0.3, 0.01, 8


def same_mask(name, x):
    """Apply the dropout mask of the block in the first iteration of a run with seed 0."""
    count, channels, height, width = x.shape
    mask = ops.dropout(
        tf.ones((count, 1, height, width, channels)),
        dropout_shares(RATE),
        dropout_position(0, f"{name}.dropout", 0),
    )
    return x * torch.tensor(mask.numpy()[:, 0]).movedim(-1, 1)


class Authors:
    """The authors' network, a dictionary of weights."""

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
    """WideResNet-pytorch's network, saved with the names of torch.nn.DataParallel."""

    def __init__(self, dropout):
        self.training = False
        self.model = Blocks(16, 2, dropout=self.drop if dropout else lambda block, x: x)
        arrays = to_pytorch(from_pytorch(ARRAYS)[1], "wideresnet-pytorch")
        self.model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
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


@pytest.mark.parametrize(
    "front_end, network, dropout",
    [
        ("tensorlayer", Authors, RATE),
        ("keras", WideResNetPytorch, 0.0),
        pytest.param("tensorlayer", Authors, 0.0, marks=pytest.mark.slow),
        pytest.param("keras", WideResNetPytorch, RATE, marks=pytest.mark.slow),
    ],
)
def test_converted_weights_give_the_logits_and_the_training_step_of_pytorch(
    tmp_path, front_end, network, dropout
):
    pytorch = network(dropout)
    torch.save(pytorch.saved(), tmp_path / "pytorch.pt")
    convert(ConvertConfig(tmp_path / "pytorch.pt", tmp_path / "ours.safetensors"))
    env = small_environment(
        front_end,
        dataset="digits",
        volume_size=8,
        depth=16,
        widen_factor=2,
        shortcut="projection",
        dropout=dropout,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
    )
    env.step()  # the loaded state replaces this one
    env.load(tmp_path / "ours.safetensors")
    assert (env.iteration, env.epochs_completed, env.index_in_epoch) == (0, 0, 0)

    test = env.dataset.normalise(env.dataset.test_volumes[:20])

    def assert_same_logits():
        expected = pytorch.logits(to_torch(test), training=False).detach().numpy()
        assert np.abs(env.predict(test) - expected).max() < 1e-4
        assert np.abs(expected).max() > 0.5

    assert_same_logits()
    before = env.get_weights()
    volumes, labels = env.next_batch(BATCH)
    env.load(tmp_path / "ours.safetensors")
    result = env.step()
    loss = F.cross_entropy(pytorch.logits(to_torch(volumes), training=True), torch.tensor(labels))
    loss.backward()
    assert abs(result.loss - loss.item()) < 1e-4
    with torch.no_grad():
        for tensor in pytorch.trained:
            tensor -= LEARNING_RATE * tensor.grad
    torch.save(pytorch.saved(), tmp_path / "later.pt")
    for name, expected in from_pytorch(read_arrays(tmp_path / "later.pt"))[1].items():
        assert np.abs(env.get_weights()[name] - expected).max() < 1e-4, name
    assert any(
        np.abs(before[name] - array).max() > 1e-4 for name, array in env.get_weights().items()
    )
    assert_same_logits()


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


def test_3d_kernels_stay_whole():
    spec = WideResNetSpec(10, 1, input_shape=(8, 8, 8, 1), num_classes=2, shortcut="projection")
    weights = wrn3d.initial_weights(spec, 4)
    arrays = to_pytorch(weights, "modules", "whole")
    assert arrays["group0.block0.conv0.weight"].shape == (16, 16, 3, 3, 3)
    assert_equal(from_pytorch(arrays)[1], weights)


def test_inflated_kernels_see_equal_slices_as_the_2d_network_does(digits):
    images = digits.normalise(digits.test_volumes[:4])[:, :, :16, :16]
    arrays = as_arrays(authors_params(10, 1))

    def activations(volumes, kernels):
        spec = WideResNetSpec(10, 1, input_shape=volumes.shape[1:], shortcut="projection")
        model = wrn3d.keras_model(spec)
        assign(named_variables(model), from_pytorch(arrays, kernels)[1])
        return keras.Model(model.input, model.get_layer("bn").output)(volumes).numpy()

    flat = activations(images, "centre")
    deep = activations(np.repeat(images, 32, axis=1), "inflated")
    assert deep.shape[1] == 8  # slices; the padding at the ends changes three of them
    for number in (3, 4):
        assert np.abs(deep[:, number] - flat[:, 0]).max() < 1e-4 * np.abs(flat).max()
    assert np.abs(deep[:, 0] - flat[:, 0]).max() > 1e-2 * np.abs(flat).max()
    back = to_pytorch(from_pytorch(arrays, "inflated")[1], kernels="inflated")
    for name, array in arrays.items():
        np.testing.assert_allclose(back[name], array, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "arrays, message",
    [
        (
            without("group1.block0.bn1.running_var"),
            "group1.block0.bn1.running_var is missing, but a WRN-16-2 has it",
        ),
        (without("group0.block1.conv0"), "group0.block1.conv0 is missing, but a WRN-16-2 has it"),
        (without("fc.bias"), "fc.bias is missing, but every Wide ResNet has it"),
        (
            ARRAYS | {"group0.block0.conv9": ARRAYS["conv0"]},
            "group0.block0.conv9 is not part of a WRN-16-2",
        ),
        (
            ARRAYS | {"group2.block1.conv1": ARRAYS["conv0"]},
            "group2.block1.conv1 is (16, 3, 3, 3), but (128, 128, 3, 3) in a WRN-16-2",
        ),
        (ARRAYS | {"group0.block0.conv0": ARRAYS["conv0"][0, 0, 0]}, "group0.block0.conv0 is (3,)"),
        (
            {"layer1.0.conv1.weight": ARRAYS["conv0"]},
            "it has none of conv0, conv0.weight, conv1.weight",
        ),
    ],
)
def test_an_array_that_does_not_fit_is_named(arrays, message):
    with pytest.raises(DataError) as raised:
        from_pytorch(arrays)
    assert str(raised.value).startswith(message)


def test_2d_kernels_cannot_stay_whole():
    with pytest.raises(DataError, match="its kernels are 2D"):
        from_pytorch(ARRAYS, "whole")


def test_the_pad_shortcut_cannot_go_to_pytorch():
    with pytest.raises(DataError, match="pad shortcut"):
        to_pytorch(wrn3d.initial_weights(WideResNetSpec(10, 1), 0))
