"""The network's weights as PyTorch programs name and lay them out, and as they are named here.

    spec, weights = from_pytorch(state_dict)                     # both are {name: array}
    state_dict = to_pytorch(weights, "wideresnet-pytorch")

PyTorch's kernels are (out, in, [depth,] height, width), its dense weights (out, in).
"""

import re

import numpy as np

from wrn3d.network.parameters import network_parameters
from wrn3d.network.spec import WideResNetSpec
from wrn3d.network.wide_resnet import STEM_FILTERS
from wrn3d.system.checks import check_choice
from wrn3d.system.errors import DataError, printable

KERNELS = ("centre", "inflated", "whole")
MOST_BLOCKS = 200  # in a group, of which the deepest that has been published has 166
_TOP_LAYERS = {"conv0": "conv1", "bn": "bn1", "fc": "fc"}
_BLOCK_LAYERS = {
    "bn0": "bn1",
    "conv0": "conv1",
    "bn1": "bn2",
    "conv1": "conv2",
    "convdim": "convShortcut",
}


def _in_modules(name):
    return f"{name}.weight" if name.rsplit(".", 1)[-1].startswith("conv") else name


def _in_wideresnet_pytorch(name):
    *block, layer, end = _in_modules(name).split(".")
    if not block:
        return f"{_TOP_LAYERS[layer]}.{end}"
    group, number = (int(re.sub(r"\D", "", part)) for part in block)  # "group0", "block0"
    return f"block{group + 1}.layer.{number}.{_BLOCK_LAYERS[layer]}.{end}"


NAMINGS = {  # each says what it calls the parameter of a canonical name
    "authors": str,  # szagoruyko/wide-residual-networks, pytorch/resnet.py: the names used here
    "modules": _in_modules,  # the authors' names on torch.nn modules
    "wideresnet-pytorch": _in_wideresnet_pytorch,  # xternalz/WideResNet-pytorch, wideresnet.py
}


def from_pytorch(arrays, kernels="centre"):
    """(spec, {canonical name: float32 array}) of a PyTorch network's arrays by name.

    2D kernels become 3D ones: "centre" puts them into the centre slice, so that on volumes of
    depth 1 the network gives the 2D one's logits; "inflated" spreads them over the depth (Carreira
    and Zisserman 2017, section 2.4), so that a volume of equal slices gives the 2D network's
    activations away from its ends. 3D kernels stay what they are. The spec's input is of depth 1,
    which only 2D networks need. Raises DataError, which names the first parameter that is missing,
    left over or of the wrong shape.
    """
    _check_kernels(kernels)
    arrays = {
        name.removeprefix("module."): array
        for name, array in arrays.items()
        if not name.endswith("num_batches_tracked")
    }
    their_name = _naming(arrays)
    spec = _checked_network(arrays, their_name)
    if kernels == "whole" and arrays[their_name("conv0")].ndim == 4:
        raise DataError("its kernels are 2D: say whether they become centre slices or are inflated")
    return spec, {
        parameter.name: _from_their_layout(
            arrays[their_name(parameter.name)], parameter.shape, kernels
        )
        for parameter in network_parameters(spec)
    }


def to_pytorch(weights, naming="authors", kernels="centre"):
    """The network's arrays {name: float32 array} for a PyTorch program.

    "centre" takes the kernels' centre slices, all that a single-depth network uses; "inflated"
    sums them over the depth, as `from_pytorch` spreads them; "whole" is for a 3D network. Raises
    DataError for weights of another network, and for one with the pad shortcut, which these
    programs do not have.
    """
    _check_kernels(kernels)
    if "group1.block0.conv0" in weights and "group1.block0.convdim" not in weights:
        raise DataError(
            "it has the pad shortcut, which PyTorch's networks of these names have "
            "not: only a network with the projection shortcut can be converted"
        )
    _checked_network(
        {name: _to_their_layout(array, "whole") for name, array in weights.items()},
        NAMINGS["authors"],
    )
    return {
        NAMINGS[naming](name): np.ascontiguousarray(_to_their_layout(array, kernels))
        for name, array in weights.items()
    }


def _check_kernels(kernels):
    check_choice("kernels", kernels, KERNELS)


def _naming(arrays):
    for their_name in NAMINGS.values():
        if their_name("conv0") in arrays:
            return their_name
    raise DataError(
        f"none of {', '.join(name('conv0') for name in NAMINGS.values())} is in it, of "
        "which a Wide ResNet has one"
    )


def _checked_network(arrays, their_name):
    """The spec that blocks and shapes tell; raises DataError unless all arrays are its, in 2D or
    in 3D as the first kernel."""
    spec = _network(arrays, their_name)
    kernels = "whole" if arrays[their_name("conv0")].ndim == 5 else "centre"
    expected = {
        their_name(parameter.name): _to_their_layout(
            np.broadcast_to(0, parameter.shape), kernels
        ).shape
        for parameter in network_parameters(spec)
    }
    for name, shape in expected.items():
        if name not in arrays:
            raise DataError(f"{name} is missing, which a {spec.name} has")
        if arrays[name].shape != shape:
            raise DataError(f"{name} is {arrays[name].shape}, but {shape} in a {spec.name}")
    for name in arrays:
        if name not in expected:
            raise DataError(f"{printable(name)} is left over, which a {spec.name} does not have")
    return spec


def _network(arrays, their_name):
    def shape(name, index):
        array = arrays.get(their_name(name))
        if array is None:
            raise DataError(f"{their_name(name)} is missing, which every Wide ResNet has")
        if array.ndim <= index:
            raise DataError(f"{their_name(name)} is {array.shape}, which no Wide ResNet has")
        return array.shape[index]

    # A block counts where any of its arrays is there, so that one that is missing is missed.
    blocks = [
        block
        for block in range(MOST_BLOCKS)
        if any(
            their_name(f"group{group}.block{block}.{layer}") in arrays
            for group in range(3)
            for layer in ("conv0", "conv1", "bn0.weight")
        )
    ]
    return WideResNetSpec(
        depth=6 * max(blocks, default=0) + 10,
        widen_factor=max(1, shape("group0.block0.conv0", 0) // STEM_FILTERS),
        num_classes=max(2, shape("fc.bias", 0)),
        input_shape=(1, 32, 32, max(1, shape("conv0", 1))),
        shortcut="projection",
    )


def _to_their_layout(array, kernels):
    if array.ndim == 5 and kernels == "centre":
        array = array[array.shape[0] // 2]
    elif array.ndim == 5 and kernels == "inflated":
        array = array.sum(axis=0)
    return np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array


def _from_their_layout(array, shape, kernels):
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
