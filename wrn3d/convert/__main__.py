"""Convert the weights of a Wide ResNet between PyTorch and this project, either way.

    python -m wrn3d.convert wrn-28-10.pt7 weights.safetensors      # then env.load reads it
    python -m wrn3d.convert weights.safetensors wrn-28-10.pt       # and back

It reads the weights of the paper's authors' program and of WideResNet-pytorch, wherever they are
in the file and whatever prefix their names have.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from wrn3d.convert.checking import ASSUMED, check_logits
from wrn3d.convert.pytorch_files import read_arrays, write_arrays
from wrn3d.convert.pytorch_weights import (
    Converted,
    Kernels,
    Naming,
    convert_network,
    normalisation,
    to_pytorch,
)
from wrn3d.network.parameters import parameter_count
from wrn3d.network.spec import PAPER_STRIDES
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, UsageError
from wrn3d.system.files import require_file
from wrn3d.system.flags import run_command
from wrn3d.system.words import counted
from wrn3d.training import shipped
from wrn3d.training.checkpoint import Checkpoint, is_checkpoint

KEPT = {
    "centre": "the centre slices of the kernels, which are all that volumes of depth 1 use",
    "inflated": "2D kernels, the sums over the depth",
    "whole": "3D kernels",
}


@dataclass(frozen=True)
class ConvertConfig:
    """The two files, and how kernels and names are converted."""

    source: Annotated[Path, tyro.conf.Positional]
    """A file that torch.save wrote, or .safetensors. A checkpoint of this project, or a trained
    network by its name, is converted to PyTorch."""
    target: Annotated[Path, tyro.conf.Positional]
    """The file to write. For PyTorch: .safetensors, or any other name for torch.save."""
    kernels: Kernels = "centre"
    """How to convert between 2D and 3D kernels: centre slice (exact on volumes of depth 1),
    inflated (spread over the depth, for real volumes), or whole (3D kernels stay 3D)."""
    naming: Naming = "authors"
    """Names for PyTorch: the authors', the same on torch.nn modules, or WideResNet-pytorch's."""
    network: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Which network of a PyTorch file with several: its keys and prefix, as in state_dict_ema."""
    check: Annotated[tuple[Path, Path] | None, tyro.conf.arg(metavar="INPUTS.npy LOGITS.npy")] = (
        None
    )
    """Inputs of the PyTorch network, floats (N, C, H, W), and its logits in evaluation: convert
    only if the converted network gives them."""


def main() -> int:
    """Convert as the command line asks; return what `exit_status` returns."""
    return run_command(convert, ConvertConfig, "wrn3d.convert", __doc__)


def convert(config: ConvertConfig) -> None:
    """Convert the source to the target and print a summary; raises UserError."""
    config = replace(config, source=shipped.find(config.source))
    source, target = config.source, config.target
    require(
        source.resolve() != target.resolve(),
        f"{target} is both source and target: name another target",
    )
    require_file(source, "name a file of weights")
    print(_to_pytorch(config) if is_checkpoint(source) else _from_pytorch(config))


def _to_pytorch(config: ConvertConfig) -> str:
    require(
        config.network is None and config.check is None,
        f"--network and --check are for PyTorch files, but {config.source} is a checkpoint",
    )
    checkpoint = Checkpoint.load(config.source)
    strides = checkpoint.config.get("strides", PAPER_STRIDES)
    with _named(config.source):
        arrays = to_pytorch(checkpoint.evaluated, config.naming, config.kernels, strides)
    write_arrays(config.target, arrays, "params" if config.naming == "authors" else None)
    text = (
        f"{config.target}: {len(arrays)} arrays with the names of {config.naming}; "
        f"{KEPT[config.kernels]}"
    )
    if tuple(strides) != PAPER_STRIDES:
        text += f"\nstrides    {' '.join(map(str, strides))}: the PyTorch network needs these, too"
    return text


def _from_pytorch(config: ConvertConfig) -> str:
    require(
        config.target.suffix == ".safetensors",
        f"{config.target} is not a name for a checkpoint of this project: end it in .safetensors",
    )
    arrays = read_arrays(config.source, config.network)
    with _named(config.source):
        converted = convert_network(arrays, config.kernels)
    spec = converted.spec
    checked = _checked(config, converted)
    network = {"depth": spec.depth, "widen_factor": spec.widen_factor, "shortcut": spec.shortcut}
    Checkpoint(converted.weights, config=network).save(config.target)
    keywords = ", ".join(f"{name}={value!r}" for name, value in network.items())
    return (
        f"{config.target}: {spec.name}, {parameter_count(spec):,} parameters, "
        f"{spec.num_classes} classes, {counted(spec.input_shape[-1], 'channel')}. "
        "To use it, name the data set that it was trained on:\n"
        f"env = CNNEnv(dataset=..., {keywords}); env.load({str(config.target)!r})"
        + "".join(f"\nleft out   {names}" for names in converted.left_out)
        + (f"\ninputs     {normalisation(converted)}" if converted.normaliser else "")
        + f"\nassumed    {ASSUMED}"
        + (f"\nchecked    {checked}" if checked else "")
    )


def _checked(config: ConvertConfig, converted: Converted) -> str:
    if config.check is None:
        return ""
    require(
        config.kernels != "inflated",
        "--check is for images, where --kernels inflated changes the logits: check with --kernels "
        "centre first",
    )
    return check_logits(converted, *config.check)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise a DataError or UsageError as a DataError with the file's name before its message."""
    try:
        yield
    except (DataError, UsageError) as error:
        raise DataError(f"{path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
