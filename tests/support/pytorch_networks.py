"""Wide ResNets in PyTorch, with the parameter names of public checkpoints.

`Blocks` has the parameters of xternalz/WideResNet-pytorch. `authors_logits` computes with a flat
dictionary of tensors, as the paper's authors do.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride, dropout):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.drop = dropout

    def forward(self, x):
        activated = F.relu(self.bn1(x))
        y = F.relu(self.bn2(self.conv1(activated)))
        shortcut = self.convShortcut(activated) if hasattr(self, "convShortcut") else x
        return shortcut + self.conv2(self.drop(self, y))


class Blocks(nn.Module):
    """The network as modules. `dropout(block, x)` is called between a block's convolutions."""

    def __init__(self, depth, widen_factor, dropout=lambda block, x: x):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        inputs = 16
        for group, stride in enumerate((1, 2, 2), 1):
            outputs = 8 * 2**group * widen_factor
            blocks = [Block(inputs, outputs, stride, dropout)]
            blocks += [Block(outputs, outputs, 1, dropout) for _ in range((depth - 4) // 6 - 1)]
            layer = nn.Sequential(*blocks)
            self.add_module(f"block{group}", nn.Sequential(OrderedDict(layer=layer)))
            inputs = outputs
        self.bn1 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, 10)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


def authors_logits(
    params,
    x,
    training,
    dropout=lambda name, x: x,
    activation=F.relu,
    epsilon=1e-5,
    raw_groups=(),
    strides=(1, 2, 2),
):
    """Return the logits (N, classes) of x (N, C, H, W); training updates the running averages.

    x may also be volumes (N, C, D, H, W) for 3D kernels. In the `raw_groups` the shortcut projects
    the block's input before batch norm.
    """
    convolve = F.conv3d if x.ndim == 5 else F.conv2d

    def batch_norm_relu(x, name):
        ends = ("running_mean", "running_var", "weight", "bias")
        arrays = (params[f"{name}.{end}"] for end in ends)
        return activation(F.batch_norm(x, *arrays, training, eps=epsilon))

    x = convolve(x, params["conv0"], padding=1)
    for group, stride in enumerate(strides):
        block = 0
        while f"group{group}.block{block}.conv0" in params:
            name, step = f"group{group}.block{block}", 1 if block else stride
            activated = batch_norm_relu(x, f"{name}.bn0")
            y = convolve(activated, params[f"{name}.conv0"], stride=step, padding=1)
            y = dropout(name, batch_norm_relu(y, f"{name}.bn1"))
            y = convolve(y, params[f"{name}.conv1"], padding=1)
            if f"{name}.convdim" in params:
                x = x if group in raw_groups else activated
                x = convolve(x, params[f"{name}.convdim"], stride=step)
            x, block = x + y, block + 1
    pooled = batch_norm_relu(x, "bn").flatten(2).mean(2)
    return F.linear(pooled, params["fc.weight"], params["fc.bias"])


def authors_params(depth, widen_factor):
    """Return a flat dictionary of parameters; none has its initial value."""
    torch.manual_seed(3)
    params = {"conv0": torch.randn(16, 3, 3, 3) / 5}

    def batch_norm(name, channels):
        params[f"{name}.weight"] = 0.5 + torch.rand(channels)
        params[f"{name}.bias"] = torch.randn(channels) / 10
        params[f"{name}.running_mean"] = torch.randn(channels) / 10
        params[f"{name}.running_var"] = 0.5 + torch.rand(channels)

    def conv(name, inputs, outputs, side):
        params[name] = torch.randn(outputs, inputs, side, side) / (side * inputs**0.5)

    inputs = 16
    for group in range(3):
        outputs = 16 * 2**group * widen_factor
        for block in range((depth - 4) // 6):
            name = f"group{group}.block{block}"
            batch_norm(f"{name}.bn0", inputs)
            conv(f"{name}.conv0", inputs, outputs, 3)
            batch_norm(f"{name}.bn1", outputs)
            conv(f"{name}.conv1", outputs, outputs, 3)
            if inputs != outputs:
                conv(f"{name}.convdim", inputs, outputs, 1)
            inputs = outputs
    batch_norm("bn", inputs)
    params["fc.weight"] = torch.randn(10, inputs) / inputs**0.5
    params["fc.bias"] = torch.randn(10) / 10
    return params
