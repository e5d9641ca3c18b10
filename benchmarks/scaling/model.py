"""The time of a step on many workers: what each computes, and what goes round the ring."""

from dataclasses import dataclass, replace
from math import ceil, inf, log2, prod
from statistics import NormalDist

import numpy as np

from wrn3d.network.parameters import KERNEL_DIMENSIONS, network_parameters
from wrn3d.training.gradients import messages

BACKWARD = 2 / 3  # of what a step computes: the part in which gradients can travel
KERNELS = 1 / 3  # of the same: the kernels' gradients
FLOAT = 4  # bytes
SCORES = 2 * FLOAT  # loss and accuracy, of which each step has the sum


@dataclass(frozen=True)
class Work:
    """Training a network on one worker: a step of n images computes for `fixed` + n * `per_image`
    seconds after n * `input` in which the batch is made, and a checkpoint takes `save` seconds once
    in `save_every` steps. Of two workers that wait for each other each takes longer by the share
    `lag` of what it computes. The others are the bytes of each message."""

    title: str
    fixed: float
    per_image: float
    gradients: tuple[int, ...]
    norms: tuple[int, ...]
    input: float = 0.0
    save: float = 0.0
    save_every: int = 100
    lag: float = 0.0

    def compute(self, images) -> float:
        """Seconds for which a step of so many images computes."""
        return self.fixed + images * self.per_image

    def alone(self, images) -> float:
        """Seconds of a step without other workers."""
        return self.compute(images) + images * self.input + self.save / self.save_every


@dataclass(frozen=True)
class Network:
    """What a message costs: `hop` seconds from one worker to the next, `per_byte` seconds of work
    on either side for each byte, and the link. Messages go round a ring, or up and down a `tree`,
    which takes fewer hops."""

    hop: float
    per_byte: float
    bits_per_second: float = inf
    tree: bool = False

    def sum(self, count, size) -> float:
        """Seconds until `count` workers have the sum of an array of `size` bytes. A ring sends
        2 (count - 1) times a part of it (Patarasuk and Yuan 2009)."""
        return self.latency(count) + self.handled(count, size) + self.on_the_wire(count, size)

    def small_sum(self, count, size) -> float:
        """The same of batch norm's, which workers in a ring pass on to each other as they are."""
        if self.tree:
            return self.sum(count, size)
        return (count - 1) * (self.hop + size * (self.per_byte + 8 / self.bits_per_second))

    def latency(self, count) -> float:
        return 2 * (ceil(log2(count)) if self.tree else count - 1) * self.hop

    def handled(self, count, size) -> float:
        return sent(count, size) * self.per_byte

    def on_the_wire(self, count, size) -> float:
        return sent(count, size) * 8 / self.bits_per_second


def sent(count, size) -> float:
    """Bytes that each of `count` workers sends for a sum of `size` bytes."""
    return 2 * (count - 1) / count * size


def sent_in_a_step(work, count, synchronised=True) -> float:
    """Bytes that each worker in a ring sends in a step."""
    return sent(count, sum(work.gradients) + SCORES) + (count - 1) * sum(
        norm_messages(work, synchronised)
    )


def step_seconds(work, network, count, images, synchronised=True) -> float:
    """A step of `count` workers with so many images each.

    Batch norm's sums are waited for one by one. In the backward pass kernels' gradients are
    computed meanwhile, but the sums wait behind gradients that are on the same link, so that
    nothing is computed while those travel. With local batch norm they travel while the backward
    pass goes on, but for the last message, and batch norm's sums are waited for only where there is
    not enough to compute meanwhile. Handling gradients is work of the same cores. In the end comes
    the sum of the scores. And the slowest of all is waited for.
    """
    if count == 1:
        return work.alone(images)
    compute = work.compute(images)
    norms = [network.small_sum(count, size) for size in norm_messages(work, synchronised)]
    each = [network.latency(count) + network.on_the_wire(count, size) for size in work.gradients]
    travel = sum(each)
    if synchronised:
        waits = sum(norms[::2]) + max(0.0, sum(norms[1::2]) - KERNELS * compute)
    else:
        waits = max(0.0, sum(norms) - compute)
        travel = max(each[-1], travel - BACKWARD * compute)
    return (
        work.alone(images)
        + waits
        + network.handled(count, sum(work.gradients))
        + travel
        + network.sum(count, SCORES)
        + work.lag * compute * slowest(count)
    )


def norm_messages(work, synchronised) -> tuple[int, ...]:
    """The bytes of batch norm's: of local ones the averages are summed, which are half as long as
    the statistics, and nothing goes back."""
    return work.norms if synchronised else tuple(size // 2 for size in work.norms[::2])


def slowest(count) -> float:
    """By how much the slowest of `count` normally distributed times lags, in units of the slower
    one's of two (Blom 1958)."""

    def expected(count):
        return NormalDist().inv_cdf((count - 0.375) / (count + 0.25))

    return expected(count) / expected(2)


def images_per_second(work, network, count, images, synchronised=True) -> float:
    """Of all workers together."""
    return count * images / step_seconds(work, network, count, images, synchronised)


def messages_of(spec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The bytes of each message of gradients and of each of batch norm's sums, as a step sends them
    for a network: of volumes of depth 1 the kernels' centre slices; statistics in float64 forward,
    in float32 back."""
    lengths, norms = [], []
    for parameter in network_parameters(spec):
        depth = parameter.shape[0] if len(parameter.shape) == KERNEL_DIMENSIONS else 1
        if parameter.trainable:
            lengths.append(prod(parameter.shape) // (depth if spec.input_shape[0] == 1 else 1))
        if parameter.name.endswith(".running_mean"):
            norms += [2 * 2 * FLOAT * parameter.shape[0], 2 * FLOAT * parameter.shape[0]]
    return (
        tuple(FLOAT * sum(lengths[place] for place in places) for places in messages(lengths)),
        tuple(norms),
    )


def fit_network(times) -> Network:
    """`hop` and `per_byte` of a ring from {(count, size): seconds}, by least squares of relative
    errors."""
    seconds = np.array(list(times.values()))
    terms = np.array([[2 * (count - 1), sent(count, size)] for count, size in times])
    (hop, per_byte), *_ = np.linalg.lstsq(terms / seconds[:, None], np.ones(len(seconds)))
    return Network(max(0.0, float(hop)), max(0.0, float(per_byte)))


def fit_work(title, spec, times, input=0.0, save=0.0) -> Work:
    """`fixed` and `per_image` through {images: seconds}, two or more, of one worker's steps, which
    include the `input` of each image."""
    per_image, fixed = np.polyfit(list(times), list(times.values()), 1)
    return Work(title, float(fixed), float(per_image) - input, *messages_of(spec), input, save)


def fit_lag(work, network, count, images, seconds) -> float:
    """The `lag` with which the model's step of `count` workers takes so many seconds."""
    rest = seconds - step_seconds(replace(work, lag=0.0), network, count, images)
    return max(0.0, rest / work.compute(images) / slowest(count))
