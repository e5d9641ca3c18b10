"""Sum the gradients over several workers in few messages."""

from collections.abc import Sequence

import tensorflow as tf

from wrn3d.distributed.shards import current_sharding
from wrn3d.network.parameters import KERNEL_DIMENSIONS

MESSAGE = 2**20  # numbers: a message is sent when it has at least this many


def messages(lengths: Sequence[int]) -> list[list[int]]:
    """Group arrays into messages; return the indices of each message's arrays, last first.

    A message is complete as soon as its arrays' `lengths` add up to MESSAGE or more.
    """
    groups: list[list[int]] = [[]]
    size = 0
    for place in reversed(range(len(lengths))):
        if size >= MESSAGE:
            groups.append([])
            size = 0
        groups[-1].append(place)
        size += lengths[place]
    return groups


def sum_gradients(
    gradients: Sequence[tf.Tensor], order: Sequence[int] | None = None
) -> Sequence[tf.Tensor]:
    """Sum each gradient over the workers (all-reduce).

    The last layers' gradients are sent first, while those of the first layers are still being
    computed. `order` has the indices in `gradients` of the network's weights, in the network's
    order; None means that `gradients` has this order already.
    """
    sharding = current_sharding()
    if not (sharding and sharding.workers):
        return gradients
    single_depth = sharding.single_depth
    sent = [_centre_slice(gradient) if single_depth else gradient for gradient in gradients]
    lengths = [array.shape.num_elements() for array in sent]
    order = order or range(len(sent))
    sums: dict[int, tf.Tensor] = {}
    for members in messages([lengths[place] for place in order]):
        places = [order[member] for member in members]
        message = tf.concat([tf.reshape(sent[place], [-1]) for place in places], 0)
        summed = sharding.workers.sum_large(message)
        parts = tf.split(summed, [lengths[place] for place in places])
        sums |= {
            place: tf.reshape(part, sent[place].shape)
            for place, part in zip(places, parts, strict=True)
        }
    return [_zero_padded(sums[place], gradient.shape) for place, gradient in enumerate(gradients)]


def _centre_slice(gradient: tf.Tensor) -> tf.Tensor:
    if len(gradient.shape) != KERNEL_DIMENSIONS:
        return gradient
    centre = gradient.shape[0] // 2
    return gradient[centre : centre + 1]


def _zero_padded(array: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    outer = shape[0] - array.shape[0]
    if not outer:
        return array
    return tf.pad(array, [(outer // 2, outer // 2), *[(0, 0)] * (len(shape) - 1)])
