"""Convert the weights of a Wide ResNet between PyTorch and this project, either way.

    python -m wrn3d.convert wrn-28-10.pt7 weights.safetensors      # then env.load takes it
    python -m wrn3d.convert weights.safetensors wrn-28-10.pt       # and back

From the files that the paper's authors publish and from those of WideResNet-pytorch.
"""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from wrn3d.convert.pytorch_files import read_arrays, write_arrays
from wrn3d.convert.pytorch_weights import KERNELS, NAMINGS, from_pytorch, to_pytorch
from wrn3d.network.parameters import parameter_count
from wrn3d.network.spec import PAPER_STRIDES
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, quoted
from wrn3d.system.exit_status import exit_status
from wrn3d.training.checkpoint import Checkpoint, is_checkpoint


@dataclass(frozen=True)
class ConvertConfig:
    """What is converted into what."""

    source: Annotated[Path, tyro.conf.Positional]
    """A file that torch.save wrote, or .safetensors; one of this project's goes to PyTorch."""
    target: Annotated[Path, tyro.conf.Positional]
    """The file to write; for PyTorch .safetensors, or else as torch.save writes it."""
    kernels: Literal[KERNELS] = "centre"
    """How 2D kernels and 3D ones become each other: centre slice (exact on volumes of depth 1),
    inflated (spread over the depth, for real volumes), or whole (3D ones stay 3D)."""
    naming: Literal[tuple(NAMINGS)] = "authors"
    """Names for PyTorch: the authors', the same on torch.nn modules, or WideResNet-pytorch's."""


def main() -> int:
    """Convert; returns the exit status, as `exit_status` says."""
    return exit_status(
        convert, tyro.cli(ConvertConfig, prog="python -m wrn3d.convert", description=__doc__)
    )


def convert(config):
    """Do what `config` says and print what came of it; raises UserError."""
    source, target = config.source, config.target
    require(source.resolve() != target.resolve(), f"{target} is what is read: name another file")
    direction = _to_pytorch if is_checkpoint(source) else _from_pytorch
    print(direction(config))


def _to_pytorch(config):
    checkpoint = Checkpoint.load(config.source)
    weights, strides = checkpoint.evaluated, checkpoint.config.get("strides", PAPER_STRIDES)
    require(
        strides in (PAPER_STRIDES, list(PAPER_STRIDES)),
        f"{config.source} is of a network of "
        f"the strides {quoted(strides)}, which PyTorch's of these names have not",
    )
    with _named(config.source):
        arrays = to_pytorch(weights, config.naming, config.kernels)
    write_arrays(config.target, arrays, "params" if config.naming == "authors" else None)
    kept = {
        "centre": "the kernels' centre slices, which are all that volumes of depth 1 meet",
        "inflated": "2D kernels, the sums over the depth",
        "whole": "3D kernels",
    }
    return (
        f"{config.target}: {len(arrays)} arrays under the names of {config.naming}; "
        f"{kept[config.kernels]}"
    )


def _from_pytorch(config):
    require(
        config.target.suffix == ".safetensors",
        f"{config.target} will be a checkpoint of this project: name a .safetensors file",
    )
    arrays = read_arrays(config.source)
    with _named(config.source):
        spec, weights = from_pytorch(arrays, config.kernels)
    network = {"depth": spec.depth, "widen_factor": spec.widen_factor, "shortcut": spec.shortcut}
    Checkpoint(weights, config=network).save(config.target)
    keywords = ", ".join(f"{name}={value!r}" for name, value in network.items())
    return (
        f"{config.target}: {spec.name}, {parameter_count(spec):,} parameters, "
        f"{spec.num_classes} classes, {spec.input_shape[-1]} channels; with the data set "
        "that they were trained on:\n"
        f"env = CNNEnv(dataset=..., {keywords}); env.load({str(config.target)!r})"
    )


@contextmanager
def _named(path):
    """Begins what a DataError says with the file that it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
