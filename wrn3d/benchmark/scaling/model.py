"""The time of a step on many workers: what each computes, and what goes round the ring."""
from dataclasses import dataclass
from math import inf, prod

import numpy as np

from wrn3d.parameters import KERNEL_DIMENSIONS, network_parameters

BACKWARD = 2 / 3  # of what a step computes: the part in which gradients can travel
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Work:
    """Training a network on one worker: a step of n images takes `fixed` + n * `per_image` seconds,
    input included, and a checkpoint `save` seconds in each of `save_every`."""

    title: str
    fixed: float
    per_image: float
    gradient_bytes: int
    norm_bytes: tuple[int, ...]
    save: float = 0.0
    save_every: int = 100

    def compute(self, images) -> float:
        """Seconds of a step without other workers."""
        return self.fixed + images * self.per_image


@dataclass(frozen=True)
class Network:
    """What a message costs: `hop` seconds from one worker to the next, `per_byte` seconds of work
    on either side for each byte, and the link."""

    hop: float
    per_byte: float
    bits_per_second: float = inf

    def sum(self, count, size) -> float:
        """Seconds until `count` workers have the sum of an array of `size` bytes: a ring sends
        2 (count - 1) times a part of it (Patarasuk and Yuan 2009)."""
        return self.latency(count) + self.handled(count, size) + self.on_the_wire(count, size)

    def latency(self, count) -> float:
        return 2 * (count - 1) * self.hop

    def handled(self, count, size) -> float:
        return sent(count, size) * self.per_byte

    def on_the_wire(self, count, size) -> float:
        return sent(count, size) * 8 / self.bits_per_second


def sent(count, size) -> float:
    """Bytes that each of `count` workers sends for a sum of `size` bytes."""
    return 2 * (count - 1) / count * size


def sent_in_a_step(work, count, synchronised=True) -> float:
    """Bytes that each worker sends in a step."""
    return sent(count, work.gradient_bytes + synchronised * sum(work.norm_bytes))


def step_seconds(work, network, count, images, synchronised=True) -> float:
    """A step of `count` workers with so many images each.

    Batch norm's sums are waited for one by one; the gradients travel while the backward pass goes
    on, but handling them is work of the same cores.
    """
    computed = work.compute(images) + work.save / work.save_every
    if count == 1:
        return computed
    norms = sum(network.sum(count, size) for size in work.norm_bytes) if synchronised else 0.0
    wire = network.on_the_wire(count, work.gradient_bytes)
    return (computed + norms + network.latency(count)
            + network.handled(count, work.gradient_bytes)
            + max(0.0, wire - BACKWARD * work.compute(images)))


def images_per_second(work, network, count, images, synchronised=True) -> float:
    """Of all workers together."""
    return count * images / step_seconds(work, network, count, images, synchronised)


def messages_of(spec) -> tuple[int, tuple[int, ...]]:
    """(bytes of the gradients, of each of batch norm's sums) that are sent for a network: of
    volumes of depth 1 the kernels' centre slices; statistics in float64 forward, in float32 back.
    """
    gradients, norms = 0, []
    for parameter in network_parameters(spec):
        depth = parameter.shape[0] if len(parameter.shape) == KERNEL_DIMENSIONS else 1
        if parameter.trainable:
            gradients += FLOAT * prod(parameter.shape) // (depth if spec.input_shape[0] == 1 else 1)
        if parameter.name.endswith(".running_mean"):
            norms += [2 * 2 * FLOAT * parameter.shape[0], 2 * FLOAT * parameter.shape[0]]
    return gradients, tuple(norms)


def fit_network(times) -> Network:
    """`hop` and `per_byte` from {(count, size): seconds}, by least squares of relative errors."""
    seconds = np.array(list(times.values()))
    terms = np.array([[2 * (count - 1), sent(count, size)] for count, size in times])
    (hop, per_byte), *_ = np.linalg.lstsq(terms / seconds[:, None], np.ones(len(seconds)))
    return Network(max(0.0, float(hop)), max(0.0, float(per_byte)))


def fit_work(title, spec, times, save=0.0) -> Work:
    """`fixed` and `per_image` through {images: seconds}, two or more, of one worker's steps."""
    per_image, fixed = np.polyfit(list(times), list(times.values()), 1)
    return Work(title, max(0.0, float(fixed)), float(per_image), *messages_of(spec), save)
