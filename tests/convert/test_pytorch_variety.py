"""PyTorch files as programs write them: wrappers x prefixes x extras, in both formats."""

import argparse
from collections import Counter, OrderedDict, defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors_torch

from tests.convert.arrays import as_arrays, assert_equal
from tests.support.pytorch_networks import Blocks, authors_params
from wrn3d.convert.__main__ import ConvertConfig, convert
from wrn3d.convert.pytorch_files import read_arrays
from wrn3d.convert.pytorch_weights import convert_network, from_pytorch
from wrn3d.system.errors import DataError, UsageError

STATE = Blocks(10, 1).state_dict()
EXPECTED = from_pytorch(as_arrays(STATE))[1]
MOMENTUM = {"momentum_buffer": torch.zeros(16, 3, 3, 3)}
WRAPPERS = {
    "none": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "best_acc1": np.float64(0.9)},
    "net": lambda state: {"net": state, "acc": 93.1, "epoch": 199},
    "model_state_dict": lambda state: {
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {0: MOMENTUM}, "param_groups": [{"params": [0]}]},
    },
    "optimizer of PyTorch before 1.6": lambda state: {
        "model": state,
        "optimizer": {
            "state": {140_234_567_890_123: MOMENTUM},
            "param_groups": [{"params": [140_234_567_890_123], "lr": 0.1}],
        },
    },
    "scheduler": lambda state: {
        "net": state,
        "scheduler": {"milestones": Counter([60, 120, 120]), "last_epoch": 3},
    },
    "history": lambda state: {"weights": state, "history": defaultdict(list, loss=[2.3, 1.9])},
    "settings": lambda state: {
        "state_dict": state,
        "args": argparse.Namespace(lr=0.1, out=Path("runs"), device=torch.device("cuda:0")),
        "seen": {1, 2},
        "dtype": torch.bfloat16,
        "memory": {"shape": torch.Size([1, 2]), "rng": torch.get_rng_state()},
        "numpy": np.random.default_rng(0).standard_normal(3),
    },
    "two levels": lambda state: {"checkpoint": {"model": state}, "epoch": 3},
    "a list": lambda state: [{"state_dict": state}, 3],
    "a defaultdict": lambda state: defaultdict(dict, net=state),
    "beside numbers": lambda state: {**state, "epoch": 3, "best": None},
    "the same twice": lambda state: {"state_dict": state, "best_state_dict": state},
    "parameters": lambda state: {
        "net": {name: torch.nn.Parameter(x, x.is_floating_point()) for name, x in state.items()}
    },
}
PREFIXES = ["", "module.", "_orig_mod.", "module.module.", "model.", "net.", "encoder.", "1."]


def with_group(state, prefix):
    """Add TRADES' unused copy of the first group."""
    names = [name for name in state if name.startswith(f"{prefix}block1.")]
    return state | {f"{prefix}sub_{name.removeprefix(prefix)}": state[name] + 1 for name in names}


def normaliser(mean, std, values, prefix=""):
    means, stds = (torch.tensor(x).expand(3).clone().reshape(1, 3, 1, 1) for x in values)
    return lambda state, _: state | {f"{prefix}{mean}": means, f"{prefix}{std}": stds}


EXTRAS = {  # {what: (add it to a state dictionary with a prefix, what the note says)}
    "none": (lambda state, _: state, None),
    "n_averaged": (lambda state, _: state | {"n_averaged": torch.tensor(7)}, "n_averaged"),
    "a counter as a float": (
        lambda state, prefix: state | {f"{prefix}bn1.num_batches_tracked": torch.tensor(7.0)},
        "counters: num_batches_tracked",
    ),
    "mu, sigma": (normaliser("mu", "sigma", (0.5, 0.25)), "inputs: mu, sigma"),
    "the identity": (normaliser("mean", "std", (0.0, 1.0), "normalize."), "normalize.mean"),
    "robustness": (
        lambda state, prefix: (
            normaliser("new_mean", "new_std", (0.5, 0.25), "normalizer.")(state, prefix)
            | {f"attacker.{name}": tensor for name, tensor in state.items()}  # the same storages
        ),
        "normalizer.new_mean",
    ),
    "TRADES": (with_group, "sub_block1.layer.0"),
}


def formats(path, saved, older=True):
    """Yield after each way of writing the file, the newer format and perhaps the older one."""
    for zipped in (True, False)[: 1 + older]:
        torch.save(saved, path, _use_new_zipfile_serialization=zipped)
        yield


@pytest.mark.parametrize("step", [31, pytest.param(1, marks=pytest.mark.slow, id="all")])
def test_the_weights_are_found_in_any_wrapper_with_any_prefix_and_extra(tmp_path, step):
    path = tmp_path / "x.pt"
    cases = list(product(WRAPPERS, PREFIXES, EXTRAS))
    for wrapper, prefix, extra in cases[::step]:
        add, note = EXTRAS[extra]
        state = add(OrderedDict((prefix + name, x) for name, x in STATE.items()), prefix)
        for _ in formats(path, WRAPPERS[wrapper](state)):
            converted = convert_network(read_arrays(path))
            case = (wrapper, prefix, extra)
            assert all(np.array_equal(converted.weights[n], x) for n, x in EXPECTED.items()), case
            assert note is None or note in "\n".join(converted.left_out), case
            normalises = extra in ("mu, sigma", "robustness")
            assert (converted.normaliser is not None) == normalises, case


def test_what_is_left_out_and_what_it_meant_is_printed(tmp_path, capsys):
    extra, _ = EXTRAS["mu, sigma"]
    torch.save(with_group(extra(STATE, ""), ""), tmp_path / "x.pt")
    convert(ConvertConfig(tmp_path / "x.pt", tmp_path / "x.safetensors"))
    printed = capsys.readouterr().out
    assert "left out   counters: num_batches_tracked\n" in printed
    assert "left out   the normalisation of its inputs: mu, sigma\n" in printed
    assert "left out   a group that TRADES' network never uses: sub_block1.layer.0." in printed
    assert "(x - mean) / std itself, with the mean 0.5, 0.5, 0.5 and the std 0.25, 0.25" in printed
    with pytest.warns(UserWarning, match="the network computed"):
        from_pytorch(as_arrays(extra(STATE, "")))


OTHER = {name: x + 1 if x.is_floating_point() else x for name, x in STATE.items()}


def two(first, second):
    return {f"{first}.{n}": x for n, x in STATE.items()} | {
        f"{second}.{n}": OTHER[n] for n in OTHER
    }


@pytest.mark.parametrize(
    "saved, names",
    [
        ({"state_dict": STATE, "state_dict_ema": OTHER}, ["state_dict", "state_dict_ema"]),
        ({"state_dict": two("student", "teacher")}, ["state_dict.student", "state_dict.teacher"]),
        ([STATE, OTHER], ["0", "1"]),
        (STATE | {f"ema.{name}": OTHER[name] for name in OTHER}, ["", "ema"]),
    ],
)
def test_of_two_networks_the_user_chooses(tmp_path, saved, names):
    path, target = tmp_path / "x.pt", tmp_path / "x.safetensors"
    for _ in formats(path, saved):
        with pytest.raises(DataError) as raised:
            convert(ConvertConfig(path, target))
        assert str(raised.value).startswith(
            f"{path}: it has 2 networks, {names[0]!r}, {names[1]!r}: choose one with --network"
        )
        for name, state in zip(names, (STATE, OTHER), strict=True):
            arrays = read_arrays(path, name)
            assert np.array_equal(from_pytorch(arrays)[1]["fc.bias"], state["fc.bias"])
        with pytest.raises(DataError, match="x.pt: it has no network 'best', but "):
            convert(ConvertConfig(path, target, network="best"))
        assert not target.exists()


def test_the_way_to_pytorch_has_no_network_to_choose(tmp_path):
    torch.save(STATE, tmp_path / "x.pt")
    convert(ConvertConfig(tmp_path / "x.pt", tmp_path / "x.safetensors"))
    with pytest.raises(UsageError, match="--network and .* but .*x.safetensors is a checkpoint"):
        convert(ConvertConfig(tmp_path / "x.safetensors", tmp_path / "y.pt", network="net"))


def test_names_that_share_a_storage_are_read(tmp_path):
    shared = {"model.conv1.weight": STATE["conv1.weight"]}
    model = torch.nn.Module()
    model.net = Blocks(10, 1)
    model.best = model.net
    safetensors_torch.save_model(model, str(tmp_path / "x.safetensors"))
    expected = from_pytorch(as_arrays(model.net.state_dict()))[1]
    assert_equal(from_pytorch(read_arrays(tmp_path / "x.safetensors"))[1], expected)

    # A flat vector of all weights, with a view for each.
    names = [name for name, x in STATE.items() if x.is_floating_point()]
    parts = torch.cat([STATE[name].flatten() for name in names]).split(
        [STATE[name].numel() for name in names]
    )
    flat = {name: x.view(STATE[name].shape) for name, x in zip(names, parts, strict=True)}
    transposed = {"fc.weight": STATE["fc.weight"].t().contiguous().t()}  # other strides
    for _ in formats(tmp_path / "x.pt", {**flat, **transposed, "shared": shared}):
        assert_equal(from_pytorch(read_arrays(tmp_path / "x.pt"))[1], EXPECTED)


def changed(name, change):
    return lambda: STATE | {name: change(STATE[name].clone())}


class Head(torch.nn.Linear):
    """A module that a program would pickle as a whole."""


def quantized(x):
    return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)


def negated(x):
    return -x


TYPES = "but weights must be float32, float16, bfloat16 or float64: save them with tensor.float()"
REFUSED = {  # {what: (the file's content, what the sentence says)}
    "fp8": (changed("fc.weight", lambda x: x.to(torch.float8_e4m3fn)), f"float8_e4m3fn, {TYPES}"),
    "bool": (changed("fc.weight", torch.Tensor.bool), f"fc.weight is bool, {TYPES}"),
    "complex": (changed("fc.weight", lambda x: x * 1j), f"fc.weight is complex64, {TYPES}"),
    "int8": (changed("fc.weight", torch.Tensor.char), f"fc.weight is int8, {TYPES}"),
    "quantized": (changed("fc.weight", quantized), "'fc.weight' is not a dense array"),
    "sparse": (changed("fc.weight", torch.Tensor.to_sparse), "'fc.weight' is not a dense array"),
    "meta": (changed("fc.weight", lambda x: x.to("meta")), "'fc.weight' is not a dense array"),
    "NaN": (changed("bn1.bias", lambda x: x * float("nan")), "bn1.bias has NaN or infinite"),
    "too large": (changed("bn1.bias", lambda x: x.double() + 1e300), "bn1.bias has NaN or infin"),
    "negative": (changed("bn1.running_var", negated), "bn1.running_var has negative numbers"),
    "a number": (changed("fc.bias", lambda x: x.sum()), "fc.bias is (), as in no Wide ResNet"),
    "a module": (lambda: Head(2, 2), "it holds tests.convert.test_pytorch_variety.Head): save"),
    "a module inside": (
        lambda: {"net": Head(2, 2)},
        'torch.save(model.state_dict(), "weights.pt")',
    ),
    "a module of PyTorch": (lambda: {"net": torch.nn.Linear(2, 2)}, "torch.nn.modules.linear"),
    "no tensors": (lambda: {"accuracy": 0.9}, "it has no dictionary of tensors"),
    "another network": (
        lambda: {"state_dict": {f"layer{i}.weight": torch.ones(2) for i in range(9)}},
        "its names are layer0.weight, layer1.weight, layer2.weight, layer3.weight and 5 more",
    ),
    "a head": (
        lambda: {f"net.{n}": x for n, x in STATE.items()} | {"head.weight": torch.ones(2)},
        "head.weight is beside the network net, and may change what it computes",
    ),
    "a mean alone": (lambda: STATE | {"mu": torch.ones(3)}, "mu is not part of a WRN-10-1"),
    "17 networks": (
        lambda: {f"{i}.{n}": x + i for i in range(17) for n, x in STATE.items()},
        "it has more than 16 networks",
    ),
}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_converted_ends_in_one_sentence(tmp_path, what):
    make, sentence = REFUSED[what]
    path = tmp_path / "x.pt"
    for _ in formats(path, make(), older=what != "fp8"):  # which the older format lacks
        with pytest.raises(DataError) as raised:
            convert(ConvertConfig(path, tmp_path / "out.safetensors"))
        message = str(raised.value)
        assert message.startswith(str(path)) and sentence in message and message.isprintable()
        assert [file.name for file in tmp_path.iterdir()] == ["x.pt"]


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.int8, torch.bool])
def test_safetensors_of_other_types_are_refused(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    safetensors_torch.save_file(STATE | {"fc.bias": STATE["fc.bias"].to(dtype)}, path)
    with pytest.raises(DataError, match=r"x.safetensors: fc.bias is .*: save them with tensor"):
        convert(ConvertConfig(path, tmp_path / "out.safetensors"))


def test_other_protocols_are_read(tmp_path):
    for protocol in (3, 4, 5):
        torch.save({"params": authors_params(10, 1)}, tmp_path / "x.pt", pickle_protocol=protocol)
        assert_equal(read_arrays(tmp_path / "x.pt"), as_arrays(authors_params(10, 1)))
