"""Translate the network's weights between PyTorch's names and layout and this project's.

    spec, weights = from_pytorch(state_dict)                     # both are {name: array}
    state_dict = to_pytorch(weights, "wideresnet-pytorch")

PyTorch's kernels are (out, in, [depth,] height, width), its dense weights (out, in).
"""

import re
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np

from wrn3d.network.parameters import network_parameters
from wrn3d.network.spec import WideResNetSpec
from wrn3d.network.wide_resnet import STEM_FILTERS
from wrn3d.system.checks import check_choice
from wrn3d.system.errors import DataError, printable

Kernels = Literal["centre", "inflated", "whole"]
Naming = Literal["authors", "modules", "wideresnet-pytorch"]
Arrays = dict[str, np.ndarray]

MOST_BLOCKS = 200  # in a group; the deepest published network has 166
_TOP_LAYERS = {"conv0": "conv1", "bn": "bn1", "fc": "fc"}
_BLOCK_LAYERS = {
    "bn0": "bn1",
    "conv0": "conv1",
    "bn1": "bn2",
    "conv1": "conv2",
    "convdim": "convShortcut",
}


def _module_name(name):
    return f"{name}.weight" if name.rsplit(".", 1)[-1].startswith("conv") else name


def _wideresnet_pytorch_name(name):
    *block, layer, end = _module_name(name).split(".")
    if not block:
        return f"{_TOP_LAYERS[layer]}.{end}"
    group, number = (int(re.sub(r"\D", "", part)) for part in block)  # "group0", "block0"
    return f"block{group + 1}.layer.{number}.{_BLOCK_LAYERS[layer]}.{end}"


NAMINGS: dict[str, Callable[[str], str]] = {  # from the canonical name to PyTorch's
    "authors": str,  # szagoruyko/wide-residual-networks, pytorch/resnet.py: the canonical names
    "modules": _module_name,  # the authors' names on torch.nn modules
    "wideresnet-pytorch": _wideresnet_pytorch_name,  # xternalz/WideResNet-pytorch, wideresnet.py
}


def from_pytorch(
    arrays: Mapping[str, np.ndarray], kernels: Kernels = "centre"
) -> tuple[WideResNetSpec, Arrays]:
    """Return (spec, {canonical name: float32 array}) of a PyTorch network's arrays by name.

    `kernels` says how 2D kernels become 3D. "centre" puts them into the centre slice: on volumes
    of depth 1 the network gives the logits of the 2D one. "inflated" spreads them over the depth
    (Carreira and Zisserman 2017, section 2.4): on a volume of equal slices the network gives the
    activations of the 2D one, except near the ends. 3D kernels stay as they are; "whole" refuses
    2D kernels. The spec's input has depth 1.

    Raises DataError, which names the first parameter that is missing, unknown or of a wrong shape.
    """
    check_choice("kernels", kernels, get_args(Kernels))
    arrays = {
        name.removeprefix("module."): array
        for name, array in arrays.items()
        if not name.endswith("num_batches_tracked")
    }
    pytorch_name = _naming(arrays)
    spec = _checked_network(arrays, pytorch_name)
    if kernels == "whole" and arrays[pytorch_name("conv0")].ndim == 4:
        raise DataError("its kernels are 2D: convert them with --kernels centre or inflated")
    return spec, {
        parameter.name: _from_pytorch_layout(
            arrays[pytorch_name(parameter.name)], parameter.shape, kernels
        )
        for parameter in network_parameters(spec)
    }


def to_pytorch(
    weights: Mapping[str, np.ndarray], naming: Naming = "authors", kernels: Kernels = "centre"
) -> Arrays:
    """Return the network's weights as {name: float32 array} for a PyTorch program.

    `kernels` says how 3D kernels become 2D. "centre" takes their centre slices, which are all that
    volumes of depth 1 use; "inflated" sums them over the depth, the inverse of `from_pytorch`;
    "whole" keeps them 3D.

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
    _checked_network(whole, NAMINGS["authors"])
    return {
        NAMINGS[naming](name): np.ascontiguousarray(_to_pytorch_layout(array, kernels))
        for name, array in weights.items()
    }


def _naming(arrays):
    """Return the function in NAMINGS that gives the names of a network's arrays."""
    for pytorch_name in NAMINGS.values():
        if pytorch_name("conv0") in arrays:
            return pytorch_name
    names = ", ".join(name("conv0") for name in NAMINGS.values())
    raise DataError(f"it has none of {names}, so it is not a Wide ResNet of a known program")


def _checked_network(arrays, pytorch_name):
    """Return the spec that the names and shapes of the arrays imply.

    Raises DataError if an array is missing, unknown or of a wrong shape, or if only some of the
    kernels are 3D.
    """
    spec = _network(arrays, pytorch_name)
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
    array = np.asarray(array, np.float32)
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
