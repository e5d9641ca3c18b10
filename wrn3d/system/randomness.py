"""Draw every random number as a pure function of (seed, purpose, position).

Counter-based generators (Philox, Salmon et al. 2011) keep no state between calls. So a stopped run
has no generator to save, and positions can be drawn in any order.
"""

import hashlib

import numpy as np

WORDS_PER_POSITION = 4  # Philox4x64 makes four 64-bit words from each value of its counter


def stream_key(seed: int, purpose: str) -> int:
    """Return a 63-bit key for one purpose under one seed; the purpose may be a layer's name."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # fits TensorFlow's int64 as well


def random_words(seed: int, purpose: str, position: int, count: int) -> np.ndarray:
    """Return the words at `position`, `position + 1`, ... as (count, 4) uint64.

    Each row is a pure function of (seed, purpose, its position).
    """
    bits = np.random.Philox(key=stream_key(seed, purpose), counter=position)
    return bits.random_raw(count * WORDS_PER_POSITION).reshape(count, WORDS_PER_POSITION)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a NumPy generator for `purpose` alone, for numbers that are drawn once."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, purpose)))


def dropout_shares(rate: float) -> np.ndarray:
    """Return the probabilities of zeroing and of keeping an element, (2,) float32."""
    return np.array([rate, 1 - rate], np.float32)


def dropout_position(seed: int, name: str, iteration: int) -> np.ndarray:
    """Return the key of a layer's dropout masks and the number of the mask, (2,) int64."""
    return np.array([stream_key(seed, name), iteration], np.int64)
