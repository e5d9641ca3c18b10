"""PyTorch's own layers as an independent reference for both front ends."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from benchmarks.pytorch import WideResNet
from tests.test_models import BUILDERS, assert_close, call, sample, trained
from wrn3d import WideResNetSpec
from wrn3d.network import ops
from wrn3d.network.variables import assign, named_variables

CASES = [
    (WideResNetSpec(10, 2, shortcut="projection"), 2),
    (WideResNetSpec(16, 1, shortcut="projection"), 3),
    (WideResNetSpec(10, 1, input_shape=(9, 8, 12, 1), shortcut="projection"), 3),
]


def to_torch(array, dimensions):
    """A canonical array in PyTorch's layout: (F, C, ...) kernels, (units, C) dense weights."""
    if array.ndim == 5:
        array = array[1 if array.shape[0] == 3 else 0] if dimensions == 2 else array
        return torch.tensor(np.moveaxis(array, (-1, -2), (0, 1)).copy())
    return torch.tensor(array.T.copy())


@pytest.mark.parametrize("spec, dimensions", CASES, ids=["images-2D", "images-3D", "volumes"])
def test_both_models_are_pytorchs_network(front_end, spec, dimensions):
    weights, volumes, labels = sample(spec, 8)
    theirs = WideResNet(spec, dimensions)
    names = {
        name: name
        if name.rsplit(".", 1)[-1] in ("weight", "bias", "running_mean", "running_var")
        else f"{name}.weight"
        for name in weights
    }
    missing = theirs.load_state_dict(
        {names[name]: to_torch(array, dimensions) for name, array in weights.items()}, strict=False
    )
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    x = torch.tensor(volumes).movedim(-1, 1)
    x = x.squeeze(2) if dimensions == 2 else x

    ours = BUILDERS[front_end](spec)
    variables = named_variables(ours)
    assign(variables, weights, "weights")
    theirs.eval()
    assert_close(call(front_end, ours, volumes, training=False), theirs(x).detach().numpy(), "eval")

    theirs.train()
    logits = theirs(x)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    with tf.GradientTape() as tape:
        our_logits = call(front_end, ours, volumes, training=True)
        our_loss = ops.cross_entropy(labels, our_logits)
    assert_close(our_logits, logits.detach().numpy(), "logits")
    assert_close(our_loss, loss.item(), "loss")
    parameters = dict(theirs.named_parameters())
    for name, gradient in tape.gradient(our_loss, trained(front_end, variables)).items():
        expected = parameters[names[name]].grad.numpy()
        assert_close(to_torch(gradient.numpy(), dimensions), expected, name, tolerance=2e-4)
    state = theirs.state_dict()
    for name, variable in variables.items():
        if "running" in name:
            assert_close(variable.numpy(), state[name].numpy(), name)
