"""The same network in PyTorch, as the peer to compare with; its names are the canonical ones."""

from contextlib import nullcontext

import torch
from torch import nn
from torch.nn import functional as F

from wrn3d.network.wide_resnet import STEM_FILTERS


class Block(nn.Module):
    """A wide residual block; the projection is there where the shape changes."""

    def __init__(self, channels, filters, stride, dimensions):
        super().__init__()
        conv = getattr(nn, f"Conv{dimensions}d")
        batch_norm = getattr(nn, f"BatchNorm{dimensions}d")
        self.bn0 = batch_norm(channels)
        self.conv0 = conv(channels, filters, 3, stride, padding=1, bias=False)
        self.bn1 = batch_norm(filters)
        self.conv1 = conv(filters, filters, 3, padding=1, bias=False)
        self.convdim = None
        if channels != filters or stride > 1:
            self.convdim = conv(channels, filters, 1, stride, bias=False)

    def forward(self, x):
        activated = F.relu(self.bn0(x))
        y = self.conv1(F.relu(self.bn1(self.conv0(activated))))
        return y + (x if self.convdim is None else self.convdim(activated))


class WideResNet(nn.Module):
    """`spec`'s network over 2 or 3 dimensions: (N, C, ..., H, W) -> logits (N, num_classes)."""

    def __init__(self, spec, dimensions):
        super().__init__()
        conv = getattr(nn, f"Conv{dimensions}d")
        self.conv0 = conv(spec.input_shape[-1], STEM_FILTERS, 3, padding=1, bias=False)
        channels = STEM_FILTERS
        for group, (filters, stride) in enumerate(
            zip(spec.group_filters, spec.strides, strict=True)
        ):
            blocks = nn.Module()
            for block in range(spec.blocks_per_group):
                blocks.add_module(
                    f"block{block}",
                    Block(channels, filters, stride if block == 0 else 1, dimensions),
                )
                channels = filters
            self.add_module(f"group{group}", blocks)
        self.bn = getattr(nn, f"BatchNorm{dimensions}d")(channels)
        self.fc = nn.Linear(channels, spec.num_classes)

    def forward(self, x):
        x = self.conv0(x)
        for group in (self.group0, self.group1, self.group2):
            for block in group.children():
                x = block(x)
        return self.fc(F.relu(self.bn(x)).flatten(2).mean(2))


class Trainer:
    """The network, its optimizer and its data's layout in memory."""

    def __init__(self, spec, dimensions, memory_format, precision):
        self.dimensions = dimensions
        self.memory_format = getattr(torch, memory_format)
        self.model = WideResNet(spec, dimensions).to(memory_format=self.memory_format)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.bfloat16 = precision == "bfloat16"

    def volumes(self, volumes):
        """(N, D, H, W, C) -> the tensor that the network takes."""
        tensor = torch.from_numpy(volumes).movedim(-1, 1)
        tensor = tensor.squeeze(2) if self.dimensions == 2 else tensor
        # A clone, since `contiguous` leaves one channel's strides, which say channels last.
        return tensor.clone(memory_format=self.memory_format)

    def labels(self, labels):
        """(N,) -> tensor."""
        return torch.from_numpy(labels)

    def step(self, volumes, labels) -> float:
        """Train one iteration; returns its loss."""
        self.model.train()
        self.optimizer.zero_grad()
        with self._autocast():
            loss = F.cross_entropy(self.model(volumes), labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def logits(self, volumes):
        """Evaluation mode, (N, num_classes)."""
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            return self.model(volumes)

    def _autocast(self):
        return torch.autocast("cpu", torch.bfloat16) if self.bfloat16 else nullcontext()
