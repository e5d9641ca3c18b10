"""The sums of the gradients over several workers, in few messages."""

import tensorflow as tf

from wrn3d.distributed.collectives import current_shard
from wrn3d.network.parameters import KERNEL_DIMENSIONS

MESSAGE = 2**20  # numbers, from which on gradients are sent


def messages(lengths) -> list[list[int]]:
    """Which arrays of these lengths are sent together: places, from the last to the first, in lists
    that are closed when their lengths come to MESSAGE."""
    found, size = [[]], 0
    for place in reversed(range(len(lengths))):
        if size >= MESSAGE:
            found.append([])
            size = 0
        found[-1].append(place)
        size += lengths[place]
    return found


def sum_gradients(gradients, order=None):
    """Each gradient's sum over the workers, in few messages; the last layers' go first, while the
    first ones' are still computed. `order` has the places of the network's weights, where the
    gradients come in another."""
    share = current_shard()
    if share is None:
        return gradients
    sent = [_centre(gradient) if share.single_depth else gradient for gradient in gradients]
    lengths = [array.shape.num_elements() for array in sent]
    order = order or range(len(sent))
    summed = {}
    for members in messages([lengths[place] for place in order]):
        places = [order[member] for member in members]
        message = share.sum_gradients(
            tf.concat([tf.reshape(sent[place], [-1]) for place in places], 0)
        )
        parts = tf.split(message, [lengths[place] for place in places])
        summed |= {
            place: tf.reshape(part, sent[place].shape)
            for place, part in zip(places, parts, strict=True)
        }
    return [_padded(summed[place], gradient.shape) for place, gradient in enumerate(gradients)]


def _centre(gradient):
    depth = gradient.shape[0]
    kernel = len(gradient.shape) == KERNEL_DIMENSIONS
    return gradient[depth // 2 : depth // 2 + 1] if kernel else gradient


def _padded(array, shape):
    outer = shape[0] - array.shape[0]
    if not outer:
        return array
    return tf.pad(array, [(outer // 2, outer // 2), *[(0, 0)] * (len(shape) - 1)])
