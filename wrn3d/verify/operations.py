"""The ops of training on fixed inputs: what TensorFlow computes, and what it should.

Each function prepares an op, as `Operation.prepare` does. Inputs have the precision that TensorFlow
computes in, so the reference sees the same numbers.
"""

from typing import Any

import numpy as np

from wrn3d.system.randomness import dropout_position, dropout_shares, generator
from wrn3d.verify import reference, updates
from wrn3d.verify.checking import Arrays, Prepared, exact, gradients, random, traced
from wrn3d.verify.rounding import BFLOAT16, FLOAT32, SAFETY, Bounded, sum_error

RESULT, OF_X, OF_KERNEL = "result", "gradient of x", "gradient of the kernel"
RATES = 0.1, 0.05  # of the updates


def linear(value: Any, sizes: Any, terms: int) -> Bounded:
    """Return sums of `terms` products, given the sums of the products' magnitudes."""
    # A sum of products has one formula: take back the factor SAFETY of `largest_error`.
    return Bounded(value, sum_error(terms + 1, sizes) / SAFETY)


def convolution(
    sides: tuple[int, int, int],
    channels: int,
    filters: int,
    size: int = 3,
    stride: int = 1,
    precision: str = "float32",
    count: int = 8,
) -> Prepared:
    """Prepare `conv3d` with its gradients. A sum has as many terms as inputs meet in an element."""
    import tensorflow as tf

    from wrn3d.network.convolution import conv3d

    strided = (count, *(-(-side // stride) for side in sides), filters)
    x, kernel, upstream = random(
        precision, (count, *sides, channels), (size,) * 3 + (channels, filters), strided
    )

    def compute(x: Any, kernel: Any, upstream: Any) -> Any:
        y, (of_x, of_kernel) = gradients(
            lambda x, kernel: conv3d(x, kernel, stride), [x, kernel], upstream
        )
        # In bfloat16 the kernel's gradient has been rounded before its cast to float32.
        return {RESULT: y, OF_X: of_x, OF_KERNEL: tf.cast(of_kernel, precision)}

    def expect(_: Arrays) -> dict[str, Bounded]:
        arrays = [exact(tensor) for tensor in (x, kernel, upstream)]
        values, sizes = (_convolved(stride, *numbers) for numbers in (arrays, map(np.abs, arrays)))
        window = size ** (2 if sides[0] == 1 else 3)
        terms = window * channels, window * filters, arrays[2].size // filters
        names = RESULT, OF_X, OF_KERNEL
        return dict(zip(names, map(linear, values, sizes, terms), strict=True))

    return traced(compute, x, tf.cast(kernel, tf.float32), upstream), expect


def _convolved(stride: int, x: Any, kernel: Any, upstream: Any) -> list[Any]:
    y, backward = reference.convolution(x, kernel, stride)
    return [y, *backward(upstream)]


def dropout(shape: tuple[int, ...], precision: str = "float32") -> Prepared:
    """Prepare `dropout` with its gradient. The mask is the result's; its share is checked."""
    import tensorflow as tf

    from wrn3d.network.ops import dropout

    x, upstream = random(precision, shape, shape)
    settings = [tf.constant(dropout_shares(0.3)), tf.constant(dropout_position(0, "verify", 0))]

    def compute(x: Any, upstream: Any, *settings: Any) -> Any:
        y, (of_x,) = gradients(lambda x: dropout(x, *settings), [x], upstream)
        return {RESULT: y, OF_X: of_x, "share kept": tf.reduce_mean(tf.cast(y != 0, tf.float32))}

    def expect(outputs: Arrays) -> dict[str, Bounded]:
        scale = Bounded((outputs[RESULT] != 0) * np.ones(shape)) / np.float32(0.7)
        deviation = np.sqrt(0.3 * 0.7 / np.prod(shape))  # of a share of independent draws
        return {
            RESULT: scale * exact(x),
            OF_X: scale * exact(upstream),
            "share kept": Bounded(0.7, deviation),
        }

    return traced(compute, x, upstream, *settings), expect


def pooling(
    function: str, shape: tuple[int, ...], *arguments: int, precision: str = "float32"
) -> Prepared:
    """Prepare "pad_shortcut" or "mean_pool" with its gradient; cells have up to 8 elements."""
    import tensorflow as tf

    from wrn3d.network import ops

    ours: Any = {"pad_shortcut": ops.pad_shortcut, "mean_pool": ops.global_average_pool}[function]
    x = random(precision, shape)[0]
    result = ours(x, *arguments)
    upstream = tf.cast(random("float32", tuple(result.shape))[0], result.dtype)

    def compute(x: Any, upstream: Any) -> Any:
        y, (of_x,) = gradients(lambda x: ours(x, *arguments), [x], upstream)
        return {RESULT: y, OF_X: of_x}

    def expect(_: Arrays) -> dict[str, Bounded]:
        y, backward = getattr(reference, function)(exact(x), *arguments)
        sizes, back_sizes = getattr(reference, function)(np.abs(exact(x)), *arguments)
        terms = np.prod(shape[1:4]) if function == "mean_pool" else 8
        return {
            RESULT: linear(y, sizes, int(terms)),
            OF_X: linear(backward(exact(upstream)), back_sizes(np.abs(exact(upstream))), 1),
        }

    return traced(compute, x, upstream), expect


def addition(shape: tuple[int, ...], precision: str = "float32") -> Prepared:
    """Prepare the sum of two volumes."""
    import tensorflow as tf

    x, y = random(precision, shape, shape)
    return traced(lambda x, y: {RESULT: tf.add(x, y)}, x, y), lambda _: {
        RESULT: Bounded(exact(x) + exact(y))
    }


def dense(count: int, channels: int, units: int) -> Prepared:
    """Prepare `dense` with its gradients."""
    from wrn3d.network import ops

    shapes = (count, channels), (channels, units), (units,), (count, units)
    *inputs, upstream = random("float32", *shapes)
    names = RESULT, OF_X, "gradient of the weight", "gradient of the bias"

    def compute(*inputs: Any) -> Any:
        y, found = gradients(ops.dense, list(inputs[:3]), inputs[3])
        return dict(zip(names, [y, *found], strict=True))

    def expect(_: Arrays) -> dict[str, Bounded]:
        y, backward = reference.dense(*(Bounded(exact(array)) for array in inputs))
        return dict(zip(names, [y, *backward(Bounded(exact(upstream)))], strict=True))

    return traced(compute, *inputs, upstream), expect


def cross_entropy(
    count: int, classes: int, smoothing: float = 0.0, weighted: bool = False
) -> Prepared:
    """Prepare the loss with its gradient, `weighted` by classes and by samples, and accuracy."""
    from wrn3d.network import ops

    draws = generator(0, "labels")
    logits = 3 * random("float32", (count, classes))[0]
    labels = draws.integers(0, classes, count)
    by_class, by_sample = draws.uniform(0.2, 2, classes), draws.uniform(0.2, 2, count)
    weights = by_class[labels] * by_sample if weighted else 1.0

    def compute(logits: Any, labels: Any, samples: Any) -> Any:
        options = (samples, smoothing, by_class.tolist()) if weighted else (None, smoothing)
        loss, (of_logits,) = gradients(
            lambda logits: ops.cross_entropy(labels, logits, *options), [logits], None
        )
        accuracy = ops.accuracy(labels, logits)
        return {RESULT: loss, "gradient of the logits": of_logits, "accuracy": accuracy}

    def expect(_: Arrays) -> dict[str, Bounded]:
        loss, backward = reference.cross_entropy(labels, Bounded(exact(logits)), smoothing, weights)
        right = (exact(logits).argmax(1) == labels).mean()
        return {
            RESULT: loss,
            "gradient of the logits": backward(1.0),
            "accuracy": Bounded(right),
        }

    return traced(compute, logits, labels, by_sample.astype(np.float32)), expect


def update(name: str, shape: tuple[int, ...], precision: str = "float32") -> Prepared:
    """Prepare two updates of a weight by one of the optimizers below.

    "single depth" is Muon on images, which changes the centre slice of a kernel alone.
    """
    import tensorflow as tf

    from wrn3d.training.optimizer import SGD, Adam, Muon

    weight, *upstream = random("float32", *[shape] * 3)
    unit = BFLOAT16 if precision == "bfloat16" else FLOAT32 * np.prod(shape[:-1])
    choices: Any = {
        "sgd": (SGD, updates.sgd()),
        "nesterov": (lambda: SGD(0.1, 0.9, True, 5e-4), updates.sgd(0.9, True, 5e-4)),
        "muon": (lambda: Muon(precision=precision), updates.muon(0.9, 0.01, unit)),
        "single depth": (
            lambda: Muon(single_depth=True, precision=precision),
            updates.muon(0.9, 0.01, unit),
        ),
        "bias": (Muon, updates.sgd(0.9, True, rate_factor=4)),
        "adam": (Adam, updates.adam()),
    }
    make, formula = choices[name]
    changed = slice(1, 2) if name == "single depth" else slice(None)

    def compute() -> Any:
        variable, optimizer = tf.Variable(weight), make()
        optimizer.build([variable])
        function = tf.function(lambda gradient: optimizer.apply([gradient]), autograph=False)
        apply = function.get_concrete_function(upstream[0])
        for rate, gradient in zip(RATES, upstream, strict=True):
            optimizer.learning_rate = np.float32(rate)
            apply(gradient)
        slots = {name: variables[0][changed] for name, variables in optimizer.slots.items()}
        return {"weight": variable[changed], **slots, "norm": optimizer.gradient_norms}

    def expect(outputs: Arrays) -> dict[str, Bounded]:
        after: Any = Bounded(exact(weight)[changed])
        momenta: Any = [Bounded(np.zeros(after.shape))] * 2 + [Bounded(1.0)] * 2
        for rate, gradient in zip(RATES, upstream, strict=True):
            after, momenta = formula(after, momenta, Bounded(exact(gradient)[changed]), rate)
        slots = zip(("momentum", "velocity"), momenta, strict=False)
        last = Bounded(exact(upstream[-1]))
        return {
            "weight": after,
            **{name: momentum for name, momentum in slots if name in outputs},
            "norm": np.sqrt((last * last).sum()).reshape(1),
        }

    return compute, expect
