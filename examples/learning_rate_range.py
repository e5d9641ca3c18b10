"""Find which learning rates train at all: a range test (Smith 2017, section 3.3).

    python -m examples.learning_rate_range

The learning rate grows by the same factor in each iteration. The test ends when the smoothed loss
is four times its lowest, or at the highest rate. Takes half a minute and writes
learning_rate_range.png.
"""

import sys
from math import isfinite

from cifar_wide_resnet_tl import CNNEnv
from wrn3d.system.flags import run_without_flags
from wrn3d.system.words import counted

SETTINGS = {"dataset": "digits", "depth": 10, "widen_factor": 1, "batch_size": 64, "momentum": 0.9}
LOWEST, HIGHEST, ITERATIONS = 1e-4, 10.0, 150
KEPT = 0.9  # share of the smoothed loss that each iteration keeps
WINDOW = 10  # iterations over which the slope is measured


def range_test(env):
    """Return [(learning rate, smoothed loss)]; restore the environment's state at the end."""
    start, curve, smooth = env.snapshot(), [], 0.0
    for iteration in range(ITERATIONS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (iteration / (ITERATIONS - 1))
        loss = env.step(learning_rate=rate).loss
        smooth = KEPT * smooth + (1 - KEPT) * loss
        unbiased = smooth / (1 - KEPT ** (iteration + 1))
        if not isfinite(loss) or unbiased > 4 * min((value for _, value in curve), default=loss):
            break
        curve.append((rate, unbiased))
    env.restore(start)
    return curve


def steepest(curve):
    """Return the learning rate at which the loss falls fastest."""
    slopes = [later[1] - earlier[1] for earlier, later in zip(curve, curve[WINDOW:], strict=False)]
    return curve[slopes.index(min(slopes)) + WINDOW // 2][0]


def main():
    env = CNNEnv(**SETTINGS)
    curve = range_test(env)
    if len(curve) <= WINDOW:
        sys.exit(f"the loss diverged after {counted(len(curve), 'iteration')}: make LOWEST smaller")
    rate = steepest(curve)
    print(f"{len(curve)} iterations; the loss falls fastest at a learning rate of {rate:.2g}")

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.figure(figsize=(7, 4))
    pyplot.semilogx(*zip(*curve, strict=True))
    pyplot.axvline(rate, linestyle="--", color="gray", label=f"falls fastest: {rate:.2g}")
    pyplot.xlabel("learning rate")
    pyplot.ylabel("training loss, smoothed")
    pyplot.title(f"{env.spec.name} on {env.dataset.title}, batches of {env.batch_num}")
    pyplot.legend()
    pyplot.savefig("learning_rate_range.png", dpi=120, bbox_inches="tight")
    print("drawn in learning_rate_range.png")


if __name__ == "__main__":
    sys.exit(run_without_flags(main, "examples.learning_rate_range", __doc__))
