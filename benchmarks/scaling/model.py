"""Predict the time of a step on many workers, from what each computes and sends."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, inf, log2, prod
from statistics import NormalDist

import numpy as np

from wrn3d import WideResNetSpec
from wrn3d.network.parameters import KERNEL_DIMENSIONS, network_parameters

BACKWARD = 2 / 3  # share of the computing that overlaps with sending gradients
KERNELS = 1 / 3  # share of the computing for the kernels' gradients
FLOAT = 4  # bytes
SCORES = 2 * FLOAT  # loss and accuracy, summed once a step


@dataclass(frozen=True)
class Work:
    """The training of a network on one worker, in seconds and bytes.

    A step of n images computes for `fixed` + n * `per_image` seconds after n * `input` seconds of
    making the batch; a checkpoint takes `save` seconds once in `save_every` steps. With two
    workers, each waits `lag` times its computing time for the other. `gradients` and `norms` are
    the bytes of each message.
    """

    fixed: float
    per_image: float
    gradients: tuple[int, ...]
    norms: tuple[int, ...]
    input: float = 0.0
    save: float = 0.0
    save_every: int = 100
    lag: float = 0.0

    def compute(self, images: int) -> float:
        """Return the seconds that a step computes."""
        return self.fixed + images * self.per_image

    def alone(self, images: int) -> float:
        """Return the seconds of a step without other workers."""
        return self.compute(images) + images * self.input + self.save / self.save_every


@dataclass(frozen=True)
class Network:
    """The cost of a message: `hop` seconds from one worker to the next, `per_byte` seconds of the
    cores' work for each byte, and the link's `bits_per_second`.

    An all-reduce goes round a ring, or up and down a `tree` in fewer hops.
    """

    hop: float
    per_byte: float
    bits_per_second: float = inf
    tree: bool = False

    def sum(self, count: int, size: int) -> float:
        """Return the seconds of an all-reduce of `size` bytes over `count` workers."""
        return self.latency(count) + self.handling(count, size) + self.transfer(count, size)

    def small_sum(self, count: int, size: int) -> float:
        """Return the seconds of batch norm's sum: in a ring, an all-gather of its arrays."""
        if self.tree:
            return self.sum(count, size)
        return (count - 1) * (self.hop + size * (self.per_byte + 8 / self.bits_per_second))

    def latency(self, count: int) -> float:
        """Return the seconds of a sum's hops."""
        return 2 * (ceil(log2(count)) if self.tree else count - 1) * self.hop

    def handling(self, count: int, size: int) -> float:
        """Return the seconds that the cores spend on a sum's bytes."""
        return sent(count, size) * self.per_byte

    def transfer(self, count: int, size: int) -> float:
        """Return the seconds that a sum's bytes spend on the wire."""
        return sent(count, size) * 8 / self.bits_per_second


def sent(count: int, size: int) -> float:
    """Return the bytes that each of `count` workers sends for an all-reduce of `size` bytes.

    In a ring each sends 2 (count - 1) parts of size / count bytes (Patarasuk and Yuan 2009).
    """
    return 2 * (count - 1) / count * size


def sent_in_step(work: Work, count: int, synchronised: bool = True) -> float:
    """Return the bytes that each worker in a ring sends in a step."""
    norms = sum(norm_messages(work, synchronised))
    return sent(count, sum(work.gradients) + SCORES) + (count - 1) * norms


def step_seconds(
    work: Work, network: Network, count: int, images: int, synchronised: bool = True
) -> float:
    """Return the seconds of a step of `count` workers with `images` images each.

    With synchronised batch norm a step waits for each sum of the forward pass. Those of the
    backward pass overlap with the kernels' gradients. The gradients' sums are not hidden, because
    batch norm's sums queue on the same link behind them. With local batch norm all messages of
    gradients but the last travel during the backward pass, and so does batch norm's one message of
    averages. In either case the cores handle each byte, the scores are summed last, and the
    step waits for the slowest worker.
    """
    if count == 1:
        return work.alone(images)
    compute = work.compute(images)
    norms = [network.small_sum(count, size) for size in norm_messages(work, synchronised)]
    each = [network.latency(count) + network.transfer(count, size) for size in work.gradients]
    travel = sum(each)
    if synchronised:
        waits = sum(norms[::2]) + max(0.0, sum(norms[1::2]) - KERNELS * compute)
    else:
        waits = max(0.0, sum(norms) - BACKWARD * compute)
        travel = max(each[-1], travel - BACKWARD * compute)
    return (
        work.alone(images)
        + waits
        + network.handling(count, sum(work.gradients))
        + travel
        + network.sum(count, SCORES)
        + work.lag * compute * slowest(count)
    )


def norm_messages(work: Work, synchronised: bool) -> tuple[int, ...]:
    """Return the bytes of each of batch norm's messages in a step.

    Local batch norm sends only averages, half the bytes, in one message after the forward pass.
    """
    return work.norms if synchronised else (sum(work.norms[::2]) // 2,)


def slowest(count: int) -> float:
    """Return the expected maximum of `count` normally distributed times, divided by the expected
    maximum of two (Blom 1958)."""

    def expected(count: int) -> float:
        return NormalDist().inv_cdf((count - 0.375) / (count + 0.25))

    return expected(count) / expected(2)


def images_per_second(
    work: Work, network: Network, count: int, images: int, synchronised: bool = True
) -> float:
    """Return the rate of all workers together."""
    return count * images / step_seconds(work, network, count, images, synchronised)


def messages_of(spec: WideResNetSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the bytes of each message of gradients, and of each message of batch norm, in a step.

    For volumes of depth 1 a step sends only the kernels' centre slices. Batch norm sends float64 in
    the forward pass and float32 in the backward pass.
    """
    from wrn3d.training.gradients import messages  # imports TensorFlow, which takes seconds

    lengths, norms = [], []
    for parameter in network_parameters(spec):
        depth = parameter.shape[0] if len(parameter.shape) == KERNEL_DIMENSIONS else 1
        if parameter.trainable:
            lengths.append(prod(parameter.shape) // (depth if spec.input_shape[0] == 1 else 1))
        if parameter.name.endswith(".running_mean"):
            norms += [2 * 2 * FLOAT * parameter.shape[0], 2 * FLOAT * parameter.shape[0]]
    gradients = (FLOAT * sum(lengths[place] for place in places) for places in messages(lengths))
    return tuple(gradients), tuple(norms)


def fit_network(times: Mapping[tuple[int, int], float]) -> Network:
    """Fit a ring's `hop` and `per_byte` to {(count, size): seconds}, by least squares of the
    relative errors."""
    seconds = np.array(list(times.values()))
    terms = np.array([[2 * (count - 1), sent(count, size)] for count, size in times])
    (hop, per_byte), *_ = np.linalg.lstsq(terms / seconds[:, None], np.ones(len(seconds)))
    return Network(max(0.0, float(hop)), max(0.0, float(per_byte)))


def fit_work(
    spec: WideResNetSpec, times: Mapping[int, float], input: float = 0.0, save: float = 0.0
) -> Work:
    """Fit `fixed` and `per_image` to the steps of one worker.

    `times` is {images: seconds} of two or more steps, with the `input` of each image included.
    """
    per_image, fixed = np.polyfit(list(times), list(times.values()), 1)
    return Work(float(fixed), float(per_image) - input, *messages_of(spec), input, save)


def fit_lag(work: Work, network: Network, count: int, images: int, seconds: float) -> float:
    """Return the `lag` that makes the model's step of `count` workers take so many seconds."""
    rest = seconds - step_seconds(replace(work, lag=0.0), network, count, images)
    return max(0.0, rest / work.compute(images) / slowest(count))
