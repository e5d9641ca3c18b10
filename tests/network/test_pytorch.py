"""PyTorch's own layers as an independent reference for both front ends."""

import numpy as np
import pytest
import torch

from benchmarks.pytorch import WideResNet
from tests.support.networks import BUILDERS, assert_close, model_outputs, sample
from wrn3d import WideResNetSpec

CASES = [
    (WideResNetSpec(16, 1, input_shape=(1, 8, 8, 3), shortcut="projection"), 2),
    (WideResNetSpec(10, 1, input_shape=(1, 8, 8, 3), shortcut="projection"), 3),
    (WideResNetSpec(10, 1, input_shape=(5, 8, 6, 1), shortcut="projection"), 3),
]


def to_torch(array, dimensions):
    """Return an array in PyTorch's layout: (F, C, ...) kernels, (units, C) dense weights."""
    if array.ndim == 5:
        array = array[array.shape[0] // 2] if dimensions == 2 else array
        return torch.tensor(np.moveaxis(array, (-1, -2), (0, 1)).copy())
    return torch.tensor(array.T.copy())


def torch_name(name):
    ends = ("weight", "bias", "running_mean", "running_var")
    return name if name.rsplit(".", 1)[-1] in ends else f"{name}.weight"


def torch_outputs(spec, dimensions, weights, volumes, labels):
    """Return the arrays of `model_outputs`, in PyTorch's layout."""
    model = WideResNet(spec, dimensions)
    keys = model.load_state_dict(
        {torch_name(name): to_torch(array, dimensions) for name, array in weights.items()},
        strict=False,
    )
    assert not keys.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in keys.missing_keys)
    x = torch.tensor(volumes).movedim(-1, 1)
    x = x.squeeze(2) if dimensions == 2 else x
    evaluation = model.eval()(x)
    logits = model.train()(x)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    gradients, state = dict(model.named_parameters()), model.state_dict()
    tensors = {"evaluation": evaluation, "logits": logits, "loss": loss} | {
        name: state[name] if "running" in name else gradients[torch_name(name)].grad
        for name in weights
    }
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


@pytest.mark.parametrize("spec, dimensions", CASES, ids=["images-2D", "images-3D", "volumes"])
def test_both_models_are_pytorchs_network(spec, dimensions):
    case = sample(spec, 8)
    expected = torch_outputs(spec, dimensions, *case)
    for front_end in BUILDERS:
        actual = model_outputs(front_end, spec, *case)
        assert actual.keys() == expected.keys()
        for name, array in actual.items():
            ours = to_torch(array, dimensions) if name in case[0] else array
            assert_close(ours, expected[name], name)
