"""Find a Wide ResNet's arrays among the names of a PyTorch file."""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import NamedTuple

import numpy as np

from wrn3d.system.errors import DataError, printable, quoted

Arrays = dict[str, np.ndarray]
Rename = Callable[[str], str]
Normaliser = tuple[np.ndarray, np.ndarray]  # mean and standard deviation, by channel or for all

FLOATS = ("float32", "float16", "bfloat16", "float64")
A_FEW = 4  # names quoted in a message
MOST_NETWORKS = 16  # in a file
_TOP_LAYERS = {"conv0": "conv1", "bn": "bn1", "fc": "fc"}
_BLOCK_LAYERS = {
    "bn0": "bn1",
    "conv0": "conv1",
    "bn1": "bn2",
    "conv1": "conv2",
    "convdim": "convShortcut",
}
# Names that wrappers give the mean and the standard deviation with which they normalise inputs.
NORMALISERS = (("mu", "sigma"), ("mean", "std"), ("new_mean", "new_std"))
COUNTER = "num_batches_tracked"  # of batch norm; some programs make it a float
UNUSED = "sub_block1."  # a group that TRADES' Wide ResNet makes and never calls


def _module_name(name):
    return f"{name}.weight" if name.rsplit(".", 1)[-1].startswith("conv") else name


def _wideresnet_pytorch_name(name):
    *block, layer, end = _module_name(name).split(".")
    if not block:
        return f"{_TOP_LAYERS[layer]}.{end}"
    group, number = (int(re.sub(r"\D", "", part)) for part in block)  # "group0", "block0"
    return f"block{group + 1}.layer.{number}.{_BLOCK_LAYERS[layer]}.{end}"


NAMINGS: dict[str, Rename] = {  # from the canonical name to PyTorch's
    "authors": str,  # szagoruyko/wide-residual-networks, pytorch/resnet.py: the canonical names
    "modules": _module_name,  # the authors' names on torch.nn modules
    "wideresnet-pytorch": _wideresnet_pytorch_name,  # xternalz/WideResNet-pytorch, wideresnet.py
}


class Network(NamedTuple):
    """A Wide ResNet's arrays, their names without the prefix, and what was beside them."""

    arrays: Arrays
    rename: Rename  # from the canonical name to the one in `arrays`
    left_out: list[str]  # a line for each kind of arrays that the network does not need
    normaliser: Normaliser | None


def prefixes(names: Iterable[str]) -> dict[str, Rename]:
    """Return {prefix: naming} of all Wide ResNets among the names; a prefix ends with a dot.

    Raises DataError for more than MOST_NETWORKS.
    """
    found: dict[str, Rename] = {}
    for rename in NAMINGS.values():
        stem, block = rename("conv0"), rename("group0.block0.bn0.bias").rpartition("bn")[0]
        with_block = {name.partition(block)[0] for name in names if block in name}
        for name in names:
            prefix = name.removesuffix(stem)
            if prefix != name and prefix in with_block and prefix[-1:] in ("", "."):
                found[prefix] = rename
    if len(found) > MOST_NETWORKS:
        raise DataError(f"it has more than {MOST_NETWORKS} networks: save one alone")
    return dict(sorted(found.items(), key=lambda item: len(item[0])))


def choose_network(dictionaries: Mapping[str, Arrays], network: str | None = None) -> Arrays:
    """Return the dictionary that has a Wide ResNet, without the other networks in it.

    `dictionaries` is {keys that lead to the dictionary: {name: array}}. `network` is the keys and
    the prefix of a network, joined by dots. It is needed if there are networks that differ. If
    there is no network at all, returns the largest dictionary.

    Raises DataError if there are networks that differ and `network` names none of them.
    """
    places = [(keys, prefix) for keys in dictionaries for prefix in prefixes(dictionaries[keys])]
    found = {".".join(filter(None, (keys, prefix[:-1]))): (keys, prefix) for keys, prefix in places}
    if len(found) < len(places):
        raise DataError("it has two networks of one name: save one alone")
    different: dict[str, Arrays] = {}
    for name, (keys, prefix) in found.items():
        own = _own(dictionaries[keys], prefix)
        if not any(_same(own, other) for other in different.values()):
            different[name] = own
    names = ", ".join(map(quoted, different))
    if network is not None and network not in found:
        raise DataError(f"it has no network {quoted(network)}, but {names or 'none'}")
    if network is None and len(different) > 1:
        raise DataError(
            f"it has {len(different)} networks, {names}: choose one with --network, as in "
            f"--network {next(iter(different)) or repr('')}"
        )
    if not found:
        return max(dictionaries.values(), key=len)
    keys, prefix = found[next(iter(different)) if network is None else network]
    return _without_others(dictionaries[keys], prefix)


def _without_others(arrays: Arrays, prefix: str) -> Arrays:
    """Return the arrays without those of the networks with other prefixes."""
    longest_first = list(reversed(prefixes(arrays)))

    def owner(name: str) -> str:
        return next((other for other in longest_first if name.startswith(other)), prefix)

    return {name: array for name, array in arrays.items() if owner(name) == prefix}


def _own(arrays: Arrays, prefix: str) -> Arrays:
    """Return the arrays with the prefix, which their new names lack."""
    return {
        name.removeprefix(prefix): array
        for name, array in _without_others(arrays, prefix).items()
        if name.startswith(prefix)
    }


def _same(one: Arrays, other: Arrays) -> bool:
    """Return whether two networks have the same arrays; one of them may have more."""
    common = one.keys() & other.keys()
    return len(common) == min(len(one), len(other)) and all(
        np.array_equal(one[name], other[name]) for name in common
    )


def find_network(arrays: Arrays) -> Network:
    """Return the one Wide ResNet among the arrays.

    Raises DataError if there is none, if there are several that differ, or if there are arrays
    beside it that may change what it computes.
    """
    arrays = choose_network({"": arrays})
    found = prefixes(arrays)
    if not found:
        stems = ", ".join(rename("conv0") for rename in NAMINGS.values())
        raise DataError(
            f"it has none of {stems} beside a first block, so it is not a Wide ResNet of a known "
            f"program: its names are {a_few(arrays)}"
        )
    [(prefix, rename)] = found.items()
    channels = arrays[prefix + rename("conv0")].shape[1:2]
    normalisers = _normalisers(arrays, (1, *channels))
    kinds = {
        "counters": [name for name, array in arrays.items() if _counts(name, array)],
        "the normalisation of its inputs": [name for pair in normalisers for name in pair],
        "a group that TRADES' network never uses": [
            name for name in arrays if name.startswith(f"{prefix}{UNUSED}")
        ],
    }
    left_out = set(chain(*kinds.values()))
    # Every batch norm has a counter of the same name.
    kinds["counters"] = list(dict.fromkeys(n.rpartition(".")[2] for n in kinds["counters"]))
    own = [name for name in arrays if name not in left_out]
    for name in own:
        if not name.startswith(prefix):
            raise DataError(
                f"{printable(name)} is beside the network {printable(prefix[:-1])}, and may change "
                "what it computes: save the network alone"
            )
    return Network(
        {name.removeprefix(prefix): arrays[name] for name in own},
        rename,
        [f"{kind}: {a_few(names)}" for kind, names in kinds.items() if names],
        _values(arrays, normalisers),
    )


def _counts(name: str, array: np.ndarray) -> bool:
    """Return whether an array is a counter, such as n_averaged, or a mark that it has begun."""
    return name.endswith(COUNTER) or (array.size == 1 and array.dtype.kind in "iub")


def _normalisers(arrays: Arrays, sizes: tuple[int, ...]) -> list[tuple[str, str]]:
    """Return the pairs of names that hold a mean and a standard deviation for each channel."""
    parents = [name.rpartition(".") for name in arrays]
    pairs = [
        (f"{parent}{dot}{mean}", f"{parent}{dot}{std}")
        for mean, std in NORMALISERS
        for parent, dot, last in parents
        if last == mean and f"{parent}{dot}{std}" in arrays
    ]
    return [pair for pair in pairs if all(arrays[name].size in sizes for name in pair)]


def _values(arrays: Arrays, normalisers: list[tuple[str, str]]) -> Normaliser | None:
    """Return the mean and the standard deviation, or None if they change nothing."""
    values = [
        (arrays[mean].reshape(-1).astype(np.float64), arrays[std].reshape(-1).astype(np.float64))
        for mean, std in normalisers
    ]
    for mean, std in values:
        if not all(map(np.array_equal, (mean, std), values[0])):
            raise DataError(f"it normalises its inputs in two ways, {a_few(chain(*normalisers))}")
        if not (np.isfinite([*mean, *std]).all() and (std > 0).all()):
            raise DataError(f"{a_few(normalisers[0])} are not a mean and a standard deviation")
    changes = bool(values) and bool(values[0][0].any() or (values[0][1] != 1).any())
    return values[0] if changes else None


def check_type(name: str, dtype: str) -> None:
    """Raise DataError unless an array has one of the types of FLOATS."""
    if dtype not in FLOATS:
        raise DataError(
            f"{printable(name)} is {dtype}, but weights must be {', '.join(FLOATS[:-1])} or "
            f"{FLOATS[-1]}: save them with tensor.float()"
        )


def a_few(names: Iterable[str]) -> str:
    """Return the first of the names and how many more there are, printable, for a message."""
    names = list(names)
    more = f" and {len(names) - A_FEW} more" if len(names) > A_FEW else ""
    return ", ".join(map(printable, names[:A_FEW])) + more
