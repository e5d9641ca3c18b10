"""Operation counts, real data, and contenders that train at every iteration."""

import gc
import itertools

import keras
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import CASES, Case
from benchmarks.contenders import CONTENDERS, MATMUL
from benchmarks.pytorch import Training, WideResNet
from benchmarks.turn import iterations

IMAGES, VOLUMES = Case(10, 1, 4), Case(10, 1, 2, 32)
QUICK = ["tensorlayer", "stock", "torch-2d-last"]  # one of each way to train
SLOW = [name for name in CONTENDERS if name not in (MATMUL, *QUICK)]


@pytest.fixture
def restored(name):
    """Restore Keras's policy, and collect the pipelines of `fit` early, while that is fast."""
    yield
    keras.mixed_precision.set_global_policy("float32")
    if "fit" in CONTENDERS[name].title:
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


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_data_are_real_digits_that_fit_the_network(case):
    dataset = case.dataset
    assert dataset.volume_shape == case.spec.input_shape
    assert len(dataset.train_labels) == len(dataset.train_volumes) >= 2 * case.batch_size
    if case.side:
        digits = CASES["16-1"].dataset
        step = case.side // 32
        slices = dataset.train_volumes[1, ::step, ::step, ::step, 0]
        assert np.array_equal(slices, digits.train_volumes[32:64, 0, :, :, 0])
        assert dataset.train_labels[1] == digits.train_labels[32]


@pytest.mark.filterwarnings("ignore:precision bfloat16")  # where the CPU has no instructions
@pytest.mark.parametrize(
    "name, precision, case",
    [
        *((name, "bfloat16", IMAGES) for name in QUICK),
        *(pytest.param(name, "bfloat16", IMAGES, marks=pytest.mark.slow) for name in SLOW),
        *(
            pytest.param(name, "float32", VOLUMES, marks=pytest.mark.slow)
            for name in QUICK + SLOW
            if not CONTENDERS[name].images_only
        ),
    ],
    ids=str,
)
def test_a_contender_trains_until_it_is_told_to_stop(name, precision, case, restored):
    trainer = CONTENDERS[name].make(case, precision)
    kernels = [first_kernel(trainer.model)]

    def enough():
        kernels.append(first_kernel(trainer.model))
        return len(kernels) == 4

    trainer.train(enough)
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


def test_iterations_are_timed_from_the_start_of_the_process(monkeypatch):
    clock = itertools.count(100.0)
    monkeypatch.setattr("benchmarks.turn.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("benchmarks.turn.SECONDS", 4.0)

    def train(enough):
        while not enough():
            pass

    assert iterations(train, start=95.0) == [5, 1, 1, 1, 1, 1]  # two to warm up, four seconds
    monkeypatch.setattr("benchmarks.turn.SECONDS", 0.0)
    assert len(iterations(train, start=0.0)) == 2 + 3  # the fewest
