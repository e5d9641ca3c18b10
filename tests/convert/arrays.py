"""The weights of a WRN-16-2 as the paper's authors name them."""

import numpy as np

from tests.support.pytorch_networks import authors_params


def as_arrays(tensors):
    return {name: tensor.numpy() for name, tensor in tensors.items()}


ARRAYS = as_arrays(authors_params(16, 2))


def without(name):
    return {key: array for key, array in ARRAYS.items() if key != name}


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert np.array_equal(left[name], right[name]), name
