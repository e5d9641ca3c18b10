"""Operation counts, real data, and contenders that train at every iteration."""

import gc
import itertools
import json

import keras
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import CASES, TRAINED, Case
from benchmarks.contenders import CONTENDERS
from benchmarks.participant import take_turns
from benchmarks.pytorch import Evaluation, Training, WideResNet

IMAGES, VOLUMES = Case(10, 1, 4), Case(10, 1, 2, 32)
QUICK = ["tensorlayer", "stock", "torch-2d"]  # one of each way to train
# Shards need a process of their own. Compiling takes long, and is the same over 2 and 3 dimensions.
OTHERS = {"matmul", "tensorlayer-2", "torch-3d-compiled", "torch-3d-last-compiled", "onnx", *QUICK}
SLOW = [name for name in CONTENDERS if name not in OTHERS]


@pytest.fixture
def restored(name):
    """Restore Keras's policy, and collect the pipelines of `fit` early, while that is fast."""
    yield
    keras.mixed_precision.set_global_policy("float32")
    if name == "stock":
        gc.collect()


@pytest.mark.slow  # importing PyTorch takes five seconds; the test of tables has such a count
@pytest.mark.parametrize("case", [Case(16, 1, 2), VOLUMES], ids=str)
def test_operations_are_those_that_pytorch_counts(case):
    dimensions = 2 if case.side is None else 3
    network = WideResNet(case.spec, dimensions)
    depth, height, width, channels = case.spec.input_shape
    sides = (height, width) if dimensions == 2 else (depth, height, width)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(case.batch_size, channels, *sides)).sum().backward()
    assert counter.get_total_flops() == case.batch_size * case.training_operations


@pytest.mark.parametrize("case", TRAINED.values(), ids=TRAINED.keys())
def test_data_are_real_digits_that_fit_the_network(case):
    dataset = case.dataset
    assert dataset.volume_shape == case.spec.input_shape
    assert len(dataset.train_labels) == len(dataset.train_volumes) >= 2 * case.batch_size
    if case.side:
        digits = TRAINED["16-1-b128"].dataset
        cube, own = digits.train_volumes[32:64, 0, :, :, 0], dataset.train_volumes[1, ..., 0]
        assert dataset.train_labels[1] == digits.train_labels[32]
        assert case.side > 32 or np.array_equal(own, cube)
        assert own.mean() == pytest.approx(cube.mean(), rel=0.02)


def test_names_tell_the_cases_apart():
    assert len(CASES) == 19 and list(CASES)[2:4] == ["16-4-b128", "16-4-b32"]
    assert {"16-1-48-b4", "16-1-32-b32"} <= {*CASES}


@pytest.mark.filterwarnings("ignore:precision bfloat16")  # where the CPU has no instructions
@pytest.mark.parametrize(
    "name, precision, case",
    [
        *((name, "bfloat16", IMAGES) for name in QUICK),
        *(pytest.param(name, "bfloat16", IMAGES, marks=pytest.mark.slow) for name in SLOW),
        *(
            pytest.param(name, "float32", VOLUMES, marks=pytest.mark.slow)
            for name in QUICK + SLOW
            if CONTENDERS[name].dimensions != 2
        ),
    ],
    ids=str,
)
def test_a_contender_trains_until_it_is_told_to_stop(name, precision, case, restored):
    program = CONTENDERS[name].makers["training"](case, precision)
    kernels = [first_kernel(program.model)]

    def enough():
        kernels.append(first_kernel(program.model))
        return len(kernels) == 4

    program.run(enough)
    assert len(kernels) == 4
    for before, after in itertools.pairwise(kernels):
        assert np.isfinite(after).all() and not np.array_equal(before, after)


def first_kernel(model):
    if isinstance(model, WideResNet):
        return model.conv0.weight.detach().numpy().copy()
    return model.trainable_weights[0].numpy()


@pytest.mark.parametrize(
    "memory_format, strides",
    [
        ("contiguous_format", (2**15, 2**15, 1024, 32, 1)),
        ("channels_last_3d", (2**15, 1, 1024, 32, 1)),
    ],
)
def test_pytorchs_volumes_lie_in_memory_in_their_format(memory_format, strides):
    training = Training(VOLUMES, "float32", 3, memory_format)
    assert training.volumes.stride() == strides


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 1])
def test_every_contender_evaluates_the_same_network(batch_size):
    case = Case(10, 1, batch_size)
    arrays = {}
    for name in ("tensorlayer", "keras", "onnx"):
        program = CONTENDERS[name].makers["evaluation"](case, "float32")
        arrays[name] = np.asarray(logits_of(program))
        assert arrays[name].shape[-2:] == (batch_size, 10)
    for name, one in arrays.items():
        np.testing.assert_allclose(one.reshape(-1), arrays["keras"].reshape(-1), atol=1e-4), name
    evaluation = Evaluation(case, "float32", 2, "channels_last")
    assert evaluation.step().shape == (batch_size, 10) and not evaluation.model.training


def logits_of(program):
    """Return what an iteration of a program computes."""
    (step,) = program.run.args
    return step()


def test_turns_hold_as_many_iterations_as_fit(monkeypatch, capsys, tmp_path):
    clock = itertools.count(100.0)
    monkeypatch.setattr("benchmarks.participant.time.perf_counter", lambda: next(clock))
    calls = tmp_path / "calls"
    calls.write_text("\n\n")

    def turns(seconds):
        iterations = sum(1 for _ in take_turns(str(calls), 95.0, seconds, {"first": 1.0}))
        lines = capsys.readouterr().out.splitlines()
        return iterations, [json.loads(line) for line in lines]

    iterations, (ready, *figures) = turns(4.0)
    assert iterations == 2 + 4 + 4 and ready["first step"] == 5.0
    assert figures[0] == ready | {"seconds": 1.0, "iterations": 4, "memory": figures[0]["memory"]}
    assert figures[0]["memory"] > 2**26
    iterations, (_, one, _) = turns(0.0)  # a step that takes longer than a turn
    assert iterations == 2 + 1 + 1 and one["iterations"] == 1
