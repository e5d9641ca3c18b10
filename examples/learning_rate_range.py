"""Which learning rates train at all? A range test (Smith 2017, section 3.3), drawn.

    python -m examples.learning_rate_range

From iteration to iteration the rate rises by the same factor, until the loss is four times its
lowest or the rates are at their end. Writes learning_rate_range.png. Half a minute.
"""

import sys
from math import isfinite

import matplotlib

from cifar_wide_resnet_tl import CNNEnv

SETTINGS = {"dataset": "digits", "depth": 10, "widen_factor": 1, "batch_size": 64, "momentum": 0.9}
LOWEST, HIGHEST, ITERATIONS = 1e-4, 10.0, 150
KEPT = 0.9  # of the smoothed loss, at each iteration
WINDOW = 10  # iterations, over which a slope is taken


def range_test(env):
    """[(learning rate, smoothed loss)], and the environment back where it was."""
    start, found, smooth = env.snapshot(), [], 0.0
    for iteration in range(ITERATIONS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (iteration / (ITERATIONS - 1))
        loss = env.step(learning_rate=rate).loss
        smooth = KEPT * smooth + (1 - KEPT) * loss
        unbiased = smooth / (1 - KEPT ** (iteration + 1))
        if not isfinite(loss) or unbiased > 4 * min((value for _, value in found), default=loss):
            break
        found.append((rate, unbiased))
    env.restore(start)
    return found


def steepest(found):
    """The rate at which the loss falls fastest."""
    slopes = [later[1] - earlier[1] for earlier, later in zip(found, found[WINDOW:], strict=False)]
    return found[slopes.index(min(slopes)) + WINDOW // 2][0]


def main():
    env = CNNEnv(**SETTINGS)
    found = range_test(env)
    if len(found) <= WINDOW:
        sys.exit(f"the loss blew up after {len(found)} iterations: make LOWEST smaller")
    rate = steepest(found)
    print(f"{len(found)} iterations; the loss falls fastest at a learning rate of {rate:.2g}")

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.figure(figsize=(7, 4))
    pyplot.semilogx(*zip(*found, strict=True))
    pyplot.axvline(rate, linestyle="--", color="gray", label=f"falls fastest: {rate:.2g}")
    pyplot.xlabel("learning rate")
    pyplot.ylabel("training loss, smoothed")
    pyplot.title(f"{env.spec.name} on {env.dataset.title}, batches of {env.batch_num}")
    pyplot.legend()
    pyplot.savefig("learning_rate_range.png", dpi=120, bbox_inches="tight")
    print("drawn in learning_rate_range.png")


if __name__ == "__main__":
    main()
