"""Update a weight with PyTorch's optimizers, as references."""

import torch


def updated_by_pytorch(optimizer, start, gradients, rates):
    """Return the weight after updates by `optimizer([weight])` at these rates, in float64."""
    weight = torch.tensor(start, requires_grad=True, dtype=torch.float64)
    pytorchs = optimizer([weight])
    for gradient, rate in zip(gradients, rates, strict=False):
        pytorchs.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor(gradient)
        pytorchs.step()
    return weight.detach().numpy()
