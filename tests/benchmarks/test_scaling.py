"""The model of a step on many workers, the messages of a real step, and the measurements."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cases import Case
from benchmarks.scaling import __main__ as command
from benchmarks.scaling import model, workers
from benchmarks.worker import SUM_SIZES
from tests.support.environments import small_environment
from wrn3d.distributed.collectives import Collectives
from wrn3d.distributed.shards import Sharding
from wrn3d.network.parameters import parameter_count
from wrn3d.network.variables import network_order
from wrn3d.training import gradients

SMALL = Case(10, 1, 32)


@pytest.mark.parametrize(
    "synchronised, gpus, how",
    [(True, [], "CollectiveGatherV2"), (False, ["GPU"], "CollectiveReduceV2")],
)
def test_a_step_sends_what_the_model_says(synchronised, gpus, how, monkeypatch):
    monkeypatch.setattr(gradients, "MESSAGE", 5000)  # makes several messages
    env = small_environment("tensorlayer", shortcut="projection")
    with monkeypatch.context() as patch:
        patch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
        workers = Collectives(2, 0)
        sharding = Sharding(2, synchronised, single_depth=True, workers=workers)

    @tf.function(autograph=False)
    @sharding.around
    def step(volumes, labels):
        *_, own = env._loss_and_gradients.python_function(volumes, labels)
        return gradients.sum_gradients(own, network_order(env.model, env.spec))

    graph = step.get_concrete_function(*map(tf.constant, env.next_batch(8))).graph
    work = model.Work(0.0, 0.0, *model.messages_of(env.spec))
    assert len(work.gradients) > 2
    sent = [
        (operation.type, operation.inputs[0].shape.num_elements() * operation.inputs[0].dtype.size)
        for operation in graph.get_operations()
        if operation.type.startswith("Collective")
    ]
    expected = [("CollectiveReduceV2", size) for size in work.gradients]
    expected += [(how, size) for size in model.norm_messages(work, synchronised)]
    assert sorted(sent) == sorted(expected)


def test_rings_gather_small_arrays_and_trees_sum_them():
    network = model.Network(1.0, 0.0, 8.0)
    assert network.small_sum(4, 100) == 3 * (1 + 100)
    assert network.sum(4, 100) == 6 + 2 * 3 / 4 * 100
    assert replace(network, tree=True).small_sum(4, 100) == 4 + 2 * 3 / 4 * 100


def test_one_worker_and_two_alternate(monkeypatch):
    turns = []

    @contextmanager
    def fake_workers(count, case, steps):
        yield lambda: turns.append(count) or {"step": float(count)}

    monkeypatch.setattr(workers, "started_workers", fake_workers)
    assert workers.alternations(SMALL, 2) == [(1.0, 2.0), (1.0, 2.0)]
    assert turns == [1, 2, 2, 1]


def test_volumes_send_whole_kernels_and_images_their_centre_slices():
    volumes, images = replace(SMALL, side=32).spec, SMALL.spec
    assert sum(model.messages_of(volumes)[0]) == 4 * parameter_count(volumes)
    # Kernels are almost all of the weights; a projection's kernel has one slice.
    assert 0.33 < sum(model.messages_of(images)[0]) / (4 * parameter_count(images)) < 0.36


def test_large_networks_send_large_messages():
    sizes, _ = model.messages_of(Case(28, 10, 1).spec)
    assert len(sizes) < 40 and min(sizes[:-1]) >= 4 * gradients.MESSAGE


def test_input_and_checkpoints_are_part_of_a_step():
    work = model.fit_work(SMALL.spec, {4: 4.4, 8: 8.4}, input=0.25, save=50.0)
    assert (work.fixed, work.per_image) == pytest.approx((0.4, 0.75))
    assert work.alone(8) == pytest.approx(8.4 + 0.5)
    assert model.step_seconds(work, model.Network(0.0, 0.0), 1024, 8) == pytest.approx(8.9)


def test_a_step_adds_up_by_hand():
    """Predict a step of two workers: a hop takes 1 s, the link has 1 byte/s."""
    work = model.Work(9.0, 0.0, (8, 16), (32, 16), lag=0.5)
    network = model.Network(1.0, 0.0, 8.0)
    forward, backward, scores = 1 + 32, 1 + 16, 2 + 8
    assert model.step_seconds(work, network, 2, 1) == pytest.approx(
        9 + forward + (backward - 9 / 3) + (2 + 8) + (2 + 16) + scores + 4.5
    )
    # 6 of the 9 seconds of computing hide local batch norm's message, and the gradients'.
    assert model.step_seconds(work, network, 2, 1, synchronised=False) == pytest.approx(
        9 + (1 + 16 - 6) + max(2 + 16, (2 + 8) + (2 + 16) - 6) + scores + 4.5
    )
    assert replace(network, tree=True).latency(1024) == 2 * 10 and network.latency(1024) == 2 * 1023


@given(st.floats(1e-6, 1e-2), st.floats(1e-11, 1e-7))
def test_a_network_is_fitted_to_its_times(hop, per_byte):
    network = model.Network(hop, per_byte)
    sums = {(n, size): network.sum(n, size) for n in (2, 4) for size in (4, 10**4, 10**7)}
    fitted = model.fit_network(sums)
    assert (fitted.hop, fitted.per_byte) == pytest.approx((hop, per_byte), rel=1e-6)


@given(st.integers(2, 1024), st.floats(0, 2))
def test_the_lag_is_fitted_to_a_step(count, lag):
    work = model.Work(0.1, 0.03, (10**7,), (512,), lag=lag)
    network = model.Network(1e-4, 1e-9)
    seconds = model.step_seconds(work, network, count, 16)
    assert model.fit_lag(work, network, count, 16, seconds) == pytest.approx(lag, abs=1e-9)


def test_the_slowest_of_many_lags_as_draws_say():
    draws = np.random.default_rng(0).normal(size=(20_000, 64))
    for count in (4, 16, 64):
        lag = draws[:, :count].max(1).mean() / draws[:, :2].max(1).mean()
        assert model.slowest(count) == pytest.approx(lag, rel=0.05)
    assert model.slowest(2) == 1


def test_medians_are_over_rounds():
    order = []

    def turn(name):
        order.append(name)
        return {"step": float(len(order))}

    figures = workers.medians({name: partial(turn, name) for name in "ab"}, 3)
    assert "".join(order) == "abbaab"
    assert figures == {"a": {"step": 4.0}, "b": {"step": 3.0}}


@given(st.integers(2, 1024), st.floats(1e8, 1e12), st.booleans())
def test_more_workers_are_never_as_many_times_as_fast(count, bits_per_second, synchronised):
    work = model.Work(0.0, 0.01, (10**7,) * 10, (512,) * 50)
    network = model.Network(1e-5, 1e-10, bits_per_second)
    alone = model.images_per_second(work, network, 1, 32)
    assert alone == pytest.approx(100)
    assert model.images_per_second(work, network, count, 32, synchronised) < count * alone
    faster = replace(network, bits_per_second=2 * bits_per_second)
    assert model.step_seconds(work, faster, count, 32) <= model.step_seconds(
        work, network, count, 32
    )


@pytest.mark.parametrize(
    "megabits",
    [workers.MEGABITS, pytest.param((), marks=pytest.mark.slow)],
    ids=["root", "no root"],
)
def test_the_command_writes_measurements_and_predictions(megabits, tmp_path, monkeypatch, capsys):
    network, work = model.Network(1e-4, 1e-9), model.Work(0.1, 0.02, (10**7,), (512,))

    @contextmanager
    def fake_workers(count, case, steps, **request):
        images = case.batch_size // count
        step = model.step_seconds(work, network, count, images) if count > 1 else work.alone(images)
        figures = {"step": step, "bytes": 1e6, "input": 1e-3, "save": 2.0}
        figures |= {f"sum of {size}": network.sum(2, size) for size in SUM_SIZES}
        yield lambda: figures

    monkeypatch.setattr(workers, "started_workers", fake_workers)
    monkeypatch.setattr(command, "can_throttle", lambda: bool(megabits))
    command.scaling(command.ScalingConfig(alternations=2, rounds=1, output=tmp_path))
    (folder,) = tmp_path.iterdir()
    text = (folder / "scaling.md").read_text()
    assert text.strip() in capsys.readouterr().out.replace("\n\n\n", "\n\n")
    assert "a hop takes 100 us and a byte 1.00 ns. Half of the cores take 100 ms a step" in text
    assert text.count("| two, ") == 2 + 2 * len(megabits) and text.count("| 400 Gbit/s, ") == 4 * 3
    assert "WRN-28-10, 64³ volumes, 2 for each worker with a GPU: alone " in text
    assert (folder / "scaling.png").read_bytes().startswith(b"\x89PNG")
