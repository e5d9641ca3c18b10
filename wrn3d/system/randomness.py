"""Every random number, as a pure function of (seed, purpose, position).

Counter-based generators (Philox, Salmon et al. 2011) keep no state between calls: there is
nothing to save when a run stops, and any position can be asked for in any order.
"""

import hashlib

import numpy as np

WORDS_PER_POSITION = 4  # Philox4x64 makes four 64-bit words at each value of its counter


def stream_key(seed: int, purpose: str) -> int:
    """A 63-bit key for one purpose under one seed, such as "order" or a layer's name."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # fits TensorFlow's int64 as well


def random_words(seed: int, purpose: str, position: int, count: int) -> np.ndarray:
    """(count, 4) uint64: the words at `position`, `position + 1`, ..., each row a pure function
    of (seed, purpose, its position)."""
    bits = np.random.Philox(key=stream_key(seed, purpose), counter=position)
    return bits.random_raw(count * WORDS_PER_POSITION).reshape(count, WORDS_PER_POSITION)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A NumPy generator of its own for `purpose`, for draws that are made once."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, purpose)))


def dropout_shares(rate):
    """(2,) float32: the probability of an element to be zeroed, and to stay."""
    return np.array([rate, 1 - rate], np.float32)


def dropout_position(seed, name, iteration):
    """(2,) int64: the key of a layer's masks, and which of them."""
    return np.array([stream_key(seed, name), iteration], np.int64)
