"""The model of what many workers cost, beside what a step really sends."""
from dataclasses import replace

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import small_environment
from wrn3d import replicas
from wrn3d.benchmark.cases import Case
from wrn3d.benchmark.scaling import model, picture
from wrn3d.benchmark.scaling.__main__ import run
from wrn3d.parameters import parameter_count

SMALL = Case(10, 1, 32)


def test_a_step_sends_what_the_model_says():
    env = small_environment("tensorlayer", shortcut="projection")
    share = replicas.Share(2, synchronised=True, single_depth=True)

    @tf.function(autograph=False)
    def step(volumes, labels):
        with replicas.sharing(share):
            *_, gradients = env._loss_and_gradients.python_function(volumes, labels)
            return replicas.sum_gradients(gradients)

    graph = step.get_concrete_function(*map(tf.constant, env.next_batch(8))).graph
    sent = [operation.inputs[0] for operation in graph.get_operations()
            if operation.type == "CollectiveReduceV2"]
    gradients, norms = model.messages_of(env.spec)
    assert len(sent) > len(norms)
    assert sum(array.shape.num_elements() * array.dtype.size for array in sent) == (
        gradients + sum(norms))


def test_two_workers_are_measured():
    found = run(2, SMALL, steps=2, sums=True, checkpoint=True)
    work = model.Work("", 0.0, 0.0, *model.messages_of(SMALL.spec))
    assert found["bytes"] > 2 * model.sent_in_a_step(work, 2)  # other programs' go over it as well
    assert found["step"] > 0 and found["save"] > 0 and len(found["sums"]) == 5


def test_volumes_send_whole_kernels_and_images_their_centre_slices():
    volumes, images = replace(SMALL, side=32).spec, SMALL.spec
    assert model.messages_of(volumes)[0] == 4 * parameter_count(volumes)
    # All but the kernels are small, and a projection's has one slice.
    assert 0.33 < model.messages_of(images)[0] / (4 * parameter_count(images)) < 0.36


@given(st.floats(1e-6, 1e-2), st.floats(1e-11, 1e-7))
def test_a_network_is_found_again_from_its_times(hop, per_byte):
    network = model.Network(hop, per_byte)
    times = {(count, size): network.sum(count, size) for count in (2, 4)
             for size in (4, 10**4, 10**7)}
    found = model.fit_network(times)
    assert found.hop == pytest.approx(hop, rel=1e-6)
    assert found.per_byte == pytest.approx(per_byte, rel=1e-6)


def test_work_is_found_again_from_its_times():
    work = model.Work("", 0.2, 0.03, *model.messages_of(SMALL.spec))
    found = model.fit_work("", SMALL.spec, {images: work.compute(images) for images in (4, 16)})
    assert (found.fixed, found.per_image) == pytest.approx((0.2, 0.03))


@given(st.integers(2, 1024), st.floats(1e8, 1e12), st.booleans())
def test_more_workers_are_faster_but_never_as_many_times(count, bits_per_second, synchronised):
    work = model.Work("", 0.0, 0.01, 10**8, (512,) * 50)
    network = model.Network(1e-5, 1e-10, bits_per_second)
    alone = model.images_per_second(work, network, 1, 32)
    assert alone == pytest.approx(100)
    assert model.images_per_second(work, network, count, 32, synchronised) < count * alone
    faster = replace(network, bits_per_second=2 * bits_per_second)
    assert (model.step_seconds(work, faster, count, 32) <=
            model.step_seconds(work, network, count, 32))


def test_the_picture_is_drawn(tmp_path):
    counts = (1, 8)
    rates = {("WRN", worker, gigabits, how): [1.0, 6.0] for worker in ("CPU", "GPU")
             for gigabits in (10, 100) for how in (True, False)}
    picture.draw(rates, counts, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
