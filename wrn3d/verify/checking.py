"""Compare what TensorFlow computes with what it should, within the bounds of rounding."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from wrn3d.system.randomness import generator
from wrn3d.verify.rounding import Bounded, largest_error

Arrays: TypeAlias = dict[str, np.ndarray]
Prepared: TypeAlias = tuple[Callable[[], Any], Callable[[Arrays], dict[str, Bounded]]]


@dataclass(frozen=True)
class Operation:
    """An op on fixed inputs, in a precision; `prepare` returns what computes and what it should.

    The first is a function to {output: tensor}, the second one from these outputs, as arrays, to
    {output: Bounded}. The `quick` ones together take a few seconds.
    """

    name: str
    prepare: Callable[[], "Prepared"]
    quick: bool = False


@dataclass(frozen=True)
class Finding:
    """The outputs of an op, and the output with the largest error, measured by its bound."""

    outputs: Arrays
    output: str
    error: float
    bound: float
    repeats: bool  # the same bits twice

    @property
    def is_right(self) -> bool:
        return self.repeats and self.error <= self.bound

    def __str__(self) -> str:
        if not self.repeats:
            return f"{self.output} has other bits when it is computed again"
        return f"{self.output}: error {self.error:.2e}, bound {self.bound:.2e}"


def check(operation: Operation) -> Finding:
    """Compute an op twice and compare the outputs with the reference."""
    compute, expect = operation.prepare()
    outputs, again = computed(compute), computed(compute)
    for name, array in outputs.items():
        if array.tobytes() != again[name].tobytes():
            return Finding(outputs, name, np.inf, 0.0, False)
    expected = expect(outputs)
    errors = {name: largest_error(outputs[name], expected[name]) for name in expected}
    worst = max(errors, key=lambda name: errors[name][0] / max(errors[name][1], 1e-300))
    return Finding(outputs, worst, *errors[worst], True)


def computed(compute: Callable[[], Any]) -> Arrays:
    """Return what `compute` does, in memory whose former contents are large numbers.

    Whatever an op leaves unwritten is thereby seen.
    """
    for power in range(8, 22):
        np.full(2**power // 4, 3e38, np.float32)
    return {name: np.array(tensor) for name, tensor in compute().items()}


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
