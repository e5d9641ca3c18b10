"""The machine's own limit: how fast it multiplies matrices."""

import time
from statistics import median

MATMUL = "matmul"  # its name among the contenders
SIZE = 2048


def matmul_rate(precision, seconds) -> float:
    """Operations/s of TensorFlow's matmul, the median of at least five products."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_normal([SIZE, SIZE], [0, 1]), precision)
    product = tf.function(lambda: tf.matmul(matrix, matrix)[0, 0])
    times = []
    for _ in range(2):
        product().numpy()
    while len(times) < 5 or sum(times) < seconds:
        start = time.perf_counter()
        product().numpy()
        times.append(time.perf_counter() - start)
    return 2 * SIZE**3 / median(times)
