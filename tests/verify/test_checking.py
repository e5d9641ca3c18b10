"""Each op is right here, and a wrong one is found."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from wrn3d.network import convolution, ops
from wrn3d.network.wide_resnet import PRECISIONS
from wrn3d.system.machine import cpu_has_bfloat16
from wrn3d.verify import operations
from wrn3d.verify.cases import QUICK, operations_in
from wrn3d.verify.checking import Operation, check

OPERATIONS = operations_in(PRECISIONS if cpu_has_bfloat16() else PRECISIONS[:1])
CONVOLUTION = Operation("a", lambda: operations.convolution((1, 8, 8), 16, 16))


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_op_is_right(operation):
    finding = check(operation)
    assert finding.is_right, finding


def test_the_quick_ones_exist_and_their_names_are_unique():
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)
    quick = {operation.name.rsplit(", ", 1)[0] for operation in OPERATIONS if operation.quick}
    assert quick == set(QUICK)


def with_other_gradient(convolve, change):
    """Return a convolution whose kernel's gradient is changed by `change(gradient)`."""

    def changed(x, kernel, *arguments):
        @tf.custom_gradient
        def same(kernel):
            return tf.identity(kernel), change

        return convolve(x, same(kernel), *arguments)

    return changed


def unwritten(gradient):
    """Return a kernel's gradient whose last filters keep what memory held."""
    return tf.concat([gradient[..., :-1], gradient[..., -1:] * 0 + 3e38], -1)


FAULTS = {
    "unwritten": (unwritten, "gradient of the kernel"),
    "zero": (lambda gradient: gradient * 0, "gradient of the kernel"),
    "one window": (lambda gradient: gradient[::-1], "gradient of the kernel"),
    "one percent": (lambda gradient: gradient * 1.01, "gradient of the kernel"),
    "NaN": (lambda gradient: gradient + np.nan, "gradient of the kernel"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_filter_gradient_is_found(monkeypatch, fault):
    change, output = FAULTS[fault]
    monkeypatch.setattr(convolution, "convolve", with_other_gradient(convolution.convolve, change))
    finding = check(CONVOLUTION)
    assert not finding.is_right
    assert finding.sentence.startswith(f"{output}: error ")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sums_in_too_low_a_precision_are_found(monkeypatch, precision):
    """A float32 op that multiplies in bfloat16, a bfloat16 op that sums in bfloat16."""

    def coarse(x, kernel, *_):
        products = [
            tf.cast(x[:, row : row + 8, column : column + 8], tf.bfloat16)
            @ tf.cast(kernel[row, column], tf.bfloat16)
            for row in range(3)
            for column in range(3)
        ]
        return tf.cast(tf.foldl(tf.add, tf.stack(products)), x.dtype)

    monkeypatch.setattr(
        convolution,
        "convolve",
        lambda x, *others: coarse(tf.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), *others),
    )
    prepare = lambda: operations.convolution((1, 8, 8), 16, 16, precision=precision)  # noqa: E731
    assert not check(Operation("a", prepare)).is_right


@pytest.mark.skipif(sys.platform != "linux", reason="fills memory by a function of glibc")
def test_a_result_that_is_left_unwritten_is_found(monkeypatch):
    def unwritten_like(x, _):
        return tf.raw_ops.Empty(shape=tf.shape(x), dtype=x.dtype, init=False)

    monkeypatch.setattr(tf, "add", unwritten_like)
    finding = check(Operation("a", lambda: operations.addition((100, 20))))
    assert finding.sentence.startswith("result: error 3.40e+38")


def test_an_op_that_fails_is_found(monkeypatch):
    def failing(x):
        return tf.debugging.check_numerics(x * np.inf, "no primitive")

    monkeypatch.setattr(tf, "add", lambda x, y: failing(x))
    finding = check(Operation("a", lambda: operations.addition((1, 2))))
    assert not finding.is_right
    assert finding.sentence.startswith("it fails (") and "no primitive" in finding.sentence


def test_an_op_without_the_same_bits_twice_is_found(monkeypatch):
    counter, pooled = tf.Variable(0.0), ops.global_average_pool

    def changing(x):
        return pooled(x) * (1 + 2.0**-23 * (counter.assign_add(1.0) % 2))

    monkeypatch.setattr(ops, "global_average_pool", changing)
    finding = check(Operation("a", lambda: operations.pooling("mean_pool", (2, 1, 1, 1, 2))))
    assert not finding.is_right
    assert finding.sentence == "result has other bits when it is computed again"


@pytest.mark.parametrize(
    "name, value, case",
    [
        ("network.batch_norm.BATCH_NORM_EPSILON", 1e-3, "batch norm and ReLU of images, training"),
        (
            "network.batch_norm.BATCH_NORM_MOMENTUM",
            0.11,
            "batch norm and ReLU of volumes, training",
        ),
        ("training.optimizer.NEWTON_SCHULZ", (3.4, -4.7, 2.0), "Muon"),
        ("training.optimizer.SGD_RATE", 5, "Muon of a bias"),
    ],
)
def test_a_wrong_constant_is_found(monkeypatch, name, value, case):
    monkeypatch.setattr(f"wrn3d.{name}", value)
    [operation] = [one for one in OPERATIONS if one.name == f"{case}, float32"]
    assert not check(operation).is_right
