"""Compare what TensorFlow computes with what it should, within the bounds of rounding."""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from wrn3d.system.errors import printable
from wrn3d.system.randomness import generator
from wrn3d.verify.rounding import Bounded, largest_error

Arrays: TypeAlias = dict[str, np.ndarray]
Prepared: TypeAlias = tuple[Callable[[], Any], Callable[[Arrays], dict[str, Bounded]]]
PERTURB = -6  # glibc's M_PERTURB
FILLING = 0x80  # whose complement in each byte is 3.4e38, in float32 and in bfloat16


@dataclass(frozen=True)
class Operation:
    """An op on fixed inputs, in a precision.

    `prepare` returns two functions: one computes {output: tensor}, the other takes these outputs as
    arrays and returns what is expected, {output: Bounded}. The `quick` ops together take a few
    seconds.
    """

    name: str
    prepare: Callable[[], Prepared]
    quick: bool = False


@dataclass(frozen=True)
class Finding:
    """The result of a check: whether all is right, a sentence about it, and the outputs."""

    is_right: bool
    sentence: str
    outputs: Arrays = field(default_factory=dict)


def check(operation: Operation) -> Finding:
    """Compute an op twice and compare the outputs with the reference."""
    import tensorflow as tf

    try:
        compute, expect = operation.prepare()
        outputs, again = computed(compute), computed(compute)
    except tf.errors.OpError as error:
        return Finding(False, f"it fails ({last_line(error)})")
    for name, array in outputs.items():
        if array.tobytes() != again[name].tobytes():
            return Finding(False, f"{name} has other bits when it is computed again", outputs)
    errors = {name: largest_error(outputs[name], one) for name, one in expect(outputs).items()}
    worst = max(errors, key=lambda name: errors[name][0] / max(errors[name][1], 1e-300))
    size, bound = errors[worst]
    sentence = f"{worst}: error {size:.2e}, bound {bound:.2e}"
    return Finding(size <= bound, sentence, outputs)


def last_line(error: Exception) -> str:
    """Return the last line of TensorFlow's message that is not indented: it has the reason."""
    lines = [line for line in str(error).splitlines() if line and not line[0].isspace()]
    return printable(lines[-1]) if lines else type(error).__name__


def computed(compute: Callable[[], Any]) -> Arrays:
    """Return the outputs of `compute` as arrays.

    On Linux, numbers that an op leaves unwritten are 3e38, and so are seen.
    """
    _fill_new_memory(FILLING)
    try:
        return {name: np.array(tensor) for name, tensor in compute().items()}
    finally:
        _fill_new_memory(0)


def _fill_new_memory(complement: int) -> None:
    """Let glibc fill the memory that it hands out, in all threads; 0 ends this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(PERTURB, complement)


def random(precision: str, *shapes: tuple[int, ...]) -> list[Any]:
    """Return tensors of normal numbers; the same shapes give the same numbers."""
    import tensorflow as tf

    draws = generator(0, "verify")
    arrays = [draws.standard_normal(shape, np.float32) for shape in shapes]
    return [tf.cast(array, precision) for array in arrays]


def exact(tensor: Any) -> np.ndarray:
    """Return a tensor's numbers in float64."""
    return np.asarray(tensor, np.float64)


def traced(function: Callable[..., Any], *inputs: Any) -> Callable[[], Any]:
    """Return a call of `function` in a graph, as in training."""
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(array) for array in inputs]
    return partial(tf.function(function, autograph=False).get_concrete_function(*tensors), *tensors)


def gradients(function: Callable[..., Any], inputs: Any, upstream: Any) -> tuple[Any, list[Any]]:
    """Return the result of `function(*inputs)` and the inputs' gradients, given the result's."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        result = function(*inputs)
    return result, tape.gradient(result, inputs, output_gradients=upstream)
