"""Translate the network's weights between PyTorch's names and layout and this project's.

    spec, weights = from_pytorch(state_dict)                     # both are {name: array}
    state_dict = to_pytorch(weights, "wideresnet-pytorch")

PyTorch's kernels are (out, in, [depth,] height, width), its dense weights (out, in).
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from wrn3d.convert.pytorch_names import NAMINGS, Arrays, Normaliser, check_type, find_network
from wrn3d.network.parameters import network_parameters
from wrn3d.network.spec import PAPER_STRIDES, WideResNetSpec
from wrn3d.network.wide_resnet import STEM_FILTERS
from wrn3d.system.checks import check_choice
from wrn3d.system.errors import DataError, printable

Kernels = Literal["centre", "inflated", "whole"]
Naming = Literal["authors", "modules", "wideresnet-pytorch"]

MOST_BLOCKS = 200  # in a group; the deepest published network has 166


class Converted(NamedTuple):
    """A network of PyTorch in this project's names and layout."""

    spec: WideResNetSpec
    weights: Arrays  # by canonical name, float32
    left_out: list[str]  # a line for each kind of arrays that the network does not need
    normaliser: Normaliser | None  # of its inputs, if the network itself normalised them


def from_pytorch(
    arrays: Mapping[str, np.ndarray], kernels: Kernels = "centre"
) -> tuple[WideResNetSpec, Arrays]:
    """Return (spec, {canonical name: float32 array}) of a PyTorch network's arrays by name.

    Raises what `convert_network` raises. Warns if the network normalised its inputs itself.
    """
    converted = convert_network(arrays, kernels)
    if converted.normaliser:
        warnings.warn(normalisation(converted), stacklevel=2)
    return converted.spec, converted.weights


def convert_network(arrays: Mapping[str, np.ndarray], kernels: Kernels = "centre") -> Converted:
    """Convert a PyTorch network's arrays, {name: array}; all names may have the same prefix.

    `kernels` says how 2D kernels become 3D. "centre" puts them into the centre slice: on volumes
    of depth 1 the network gives the logits of the 2D one. "inflated" spreads them over the depth
    (Carreira and Zisserman 2017, section 2.4): on a volume of equal slices the network gives the
    activations of the 2D one, except near the ends. 3D kernels stay as they are; "whole" refuses
    2D kernels. The spec's input has depth 1.

    Raises DataError, which names the first parameter that is missing, unknown, of a wrong shape or
    type, or that has impossible values.
    """
    check_choice("kernels", kernels, get_args(Kernels))
    network = find_network(dict(arrays))
    spec = _checked_network(network.arrays, network.rename)
    if kernels == "whole" and network.arrays[network.rename("conv0")].ndim == 4:
        raise DataError("its kernels are 2D: convert them with --kernels centre or inflated")
    weights = {
        parameter.name: _from_pytorch_layout(
            _checked_values(network.rename(parameter.name), network.arrays),
            parameter.shape,
            kernels,
        )
        for parameter in network_parameters(spec)
    }
    return Converted(spec, weights, network.left_out, network.normaliser)


def normalisation(converted: Converted) -> str:
    """Return a sentence for a network that normalised its inputs itself."""
    mean, std = (", ".join(f"{x:.6g}" for x in values) for values in converted.normaliser or ())
    return (
        f"the network computed (x - mean) / std itself, with the mean {mean} and the std {std}: "
        "give the converted network inputs that are normalised in this way"
    )


def to_pytorch(
    weights: Mapping[str, np.ndarray],
    naming: Naming = "authors",
    kernels: Kernels = "centre",
    strides: Sequence[int] = PAPER_STRIDES,
) -> Arrays:
    """Return the network's weights as {name: float32 array} for a PyTorch program.

    `kernels` says how 3D kernels become 2D. "centre" takes their centre slices, which are all that
    volumes of depth 1 use; "inflated" sums them over the depth, the inverse of `from_pytorch`;
    "whole" keeps them 3D. `strides` are the network's, which the program has to have, too.

    Raises DataError for the weights of another network, and for the pad shortcut, which the
    PyTorch programs do not have.
    """
    check_choice("kernels", kernels, get_args(Kernels))
    if "group1.block0.conv0" in weights and "group1.block0.convdim" not in weights:
        raise DataError(
            "the network has the pad shortcut, but PyTorch's Wide ResNets have the projection "
            "shortcut: train with --shortcut projection"
        )
    whole = {name: _to_pytorch_layout(array, "whole") for name, array in weights.items()}
    _checked_network(whole, NAMINGS["authors"], strides)
    return {
        NAMINGS[naming](name): np.ascontiguousarray(_to_pytorch_layout(array, kernels))
        for name, array in weights.items()
    }


def _checked_values(name, arrays):
    """Return an array as float32; raise DataError for other types, NaN and negative variances."""
    array = arrays[name]
    check_type(name, array.dtype.name)
    with np.errstate(over="ignore"):  # float64 beyond float32's range becomes infinite
        array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"{name} has NaN or infinite numbers in float32: the network had diverged")
    if name.endswith("running_var") and (array < 0).any():
        raise DataError(f"{name} has negative numbers instead of variances: the file is damaged")
    return array


def _checked_network(arrays, pytorch_name, strides=PAPER_STRIDES):
    """Return the spec with these strides that the names and shapes of the arrays imply.

    Raises DataError if an array is missing, unknown or of a wrong shape, or if only some of the
    kernels are 3D.
    """
    spec = replace(_network(arrays, pytorch_name), strides=strides)
    kernels = "whole" if arrays[pytorch_name("conv0")].ndim == 5 else "centre"
    expected = {
        pytorch_name(parameter.name): _to_pytorch_layout(
            np.broadcast_to(0, parameter.shape), kernels
        ).shape
        for parameter in network_parameters(spec)
    }
    for name, shape in expected.items():
        if name not in arrays:
            raise DataError(f"{name} is missing, but a {spec.name} has it")
        if arrays[name].shape != shape:
            raise DataError(f"{name} is {arrays[name].shape}, but {shape} in a {spec.name}")
    for name in arrays:
        if name not in expected:
            raise DataError(f"{printable(name)} is not part of a {spec.name}")
    return spec


def _network(arrays, pytorch_name):
    def length(name, axis):
        array = arrays.get(pytorch_name(name))
        if array is None:
            raise DataError(f"{pytorch_name(name)} is missing, but every Wide ResNet has it")
        if array.ndim <= axis:
            raise DataError(f"{pytorch_name(name)} is {array.shape}, as in no Wide ResNet")
        return array.shape[axis]

    # One array is enough for a block to count: the check then names its missing arrays.
    blocks = [
        block
        for block in range(MOST_BLOCKS)
        if any(
            pytorch_name(f"group{group}.block{block}.{layer}") in arrays
            for group in range(3)
            for layer in ("conv0", "conv1", "bn0.weight")
        )
    ]
    return WideResNetSpec(
        depth=6 * max(blocks, default=0) + 10,
        widen_factor=max(1, length("group0.block0.conv0", 0) // STEM_FILTERS),
        num_classes=max(2, length("fc.bias", 0)),
        input_shape=(1, 32, 32, max(1, length("conv0", 1))),
        shortcut="projection",
    )


def _to_pytorch_layout(array, kernels):
    if array.ndim == 5 and kernels == "centre":
        array = array[array.shape[0] // 2]
    elif array.ndim == 5 and kernels == "inflated":
        array = array.sum(axis=0)
    return np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array


def _from_pytorch_layout(array, shape, kernels):
    array = np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 1 else array
    if array.shape == shape:
        return array.copy()
    depth = shape[0]
    slices = np.zeros(shape, np.float32)
    if kernels == "inflated":
        slices[:] = array / depth
    else:
        slices[depth // 2] = array
    return slices
