"""The same network in PyTorch, under the same canonical names."""

from collections import OrderedDict
from itertools import count

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases import MOMENTUM
from wrn3d.network.wide_resnet import STEM_FILTERS
from wrn3d.system import machine


class Block(nn.Module):
    """A wide residual block, with a projection where the shape changes."""

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
    """The network of `spec` over 2 or 3 dimensions: (N, C, ..., H, W) -> (N, num_classes)."""

    def __init__(self, spec, dimensions):
        super().__init__()
        conv = getattr(nn, f"Conv{dimensions}d")
        self.conv0 = conv(spec.input_shape[-1], STEM_FILTERS, 3, padding=1, bias=False)
        channels = STEM_FILTERS
        for group, (filters, stride) in enumerate(
            zip(spec.group_filters, spec.strides, strict=True)
        ):
            blocks = OrderedDict(block0=Block(channels, filters, stride, dimensions))
            for block in range(1, spec.blocks_per_group):
                blocks[f"block{block}"] = Block(filters, filters, 1, dimensions)
            self.add_module(f"group{group}", nn.Sequential(blocks))
            channels = filters
        self.bn = getattr(nn, f"BatchNorm{dimensions}d")(channels)
        self.fc = nn.Linear(channels, spec.num_classes)

    def forward(self, x):
        x = self.group2(self.group1(self.group0(self.conv0(x))))
        return self.fc(F.relu(self.bn(x)).flatten(2).mean(2))


class Program:
    """The network with a batch's data layout, eager or compiled; bfloat16 is PyTorch's autocast."""

    def __init__(self, case, precision, dimensions, memory_format, compiled=False, freezing=False):
        torch.set_num_threads(machine.usable_cores())
        self.dimensions, self.memory_format = dimensions, getattr(torch, memory_format)
        self.bfloat16 = precision == "bfloat16"
        self.model = WideResNet(case.spec, dimensions).to(memory_format=self.memory_format)
        self.network = self.model
        if compiled:
            from torch._inductor import config as inductor_config  # slow to import

            inductor_config.freezing = freezing
            self.network = torch.compile(self.model, dynamic=False)

    def tensor(self, volumes):
        """Convert (N, D, H, W, C) to the tensor that the network takes."""
        tensor = torch.from_numpy(volumes).movedim(-1, 1)
        tensor = tensor.squeeze(2) if self.dimensions == 2 else tensor
        # Clone: with one channel `contiguous` would keep the strides, which mean channels last.
        return tensor.clone(memory_format=self.memory_format)

    def autocast(self):
        """Return a context that computes in the precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16)


class Training(Program):
    """The network with its optimizer and training data."""

    def __init__(self, case, *arguments):
        super().__init__(case, *arguments)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, **MOMENTUM)
        dataset = case.dataset
        self.volumes = self.tensor(dataset.normalise(dataset.train_volumes))
        self.labels = torch.from_numpy(dataset.train_labels)
        last = len(self.labels) - case.batch_size
        starts = (start % last for start in count(step=case.batch_size))
        self.batches = (slice(start, start + case.batch_size) for start in starts)

    def step(self) -> float:
        """Train one iteration; return its loss."""
        rows = next(self.batches)
        self.model.train()
        self.optimizer.zero_grad()
        with self.autocast():
            loss = F.cross_entropy(self.network(self.volumes[rows]), self.labels[rows])
        loss.backward()
        self.optimizer.step()
        return loss.item()


class Evaluation(Program):
    """The network in evaluation mode with a batch."""

    def __init__(self, case, *arguments):
        super().__init__(case, *arguments, freezing=True)  # the weights are constants
        self.model.eval()
        self.volumes = self.tensor(case.volumes)

    def step(self):
        """Return the batch's logits, (N, num_classes)."""
        with torch.inference_mode(), self.autocast():
            return self.network(self.volumes).float().numpy()
