"""Which learning rates train at all? A range test (Smith 2017, section 3.3), drawn.

    python examples/learning_rate_range.py --dataset digits --momentum 0.9

From one snapshot, the rate rises from iteration to iteration by the same factor, until the loss
is four times its lowest or the rates are at their end. Takes CNNEnv's settings as flags; writes
learning_rate_range.png. A minute.
"""
import argparse
import sys
from math import isfinite
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cifar_wide_resnet_tl import CNNEnv

LOWEST, HIGHEST, ITERATIONS = 1e-4, 10.0, 150
KEPT = 0.9  # of the smoothed loss, at each iteration


def range_test(env):
    """[(learning rate, smoothed loss)], and the environment back where it was."""
    start, found, smooth = env.snapshot(), [], 0.0
    for iteration in range(ITERATIONS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (iteration / (ITERATIONS - 1))
        loss = env.step(learning_rate=rate).loss
        if not isfinite(loss):
            break
        smooth = KEPT * smooth + (1 - KEPT) * loss
        found.append((rate, smooth / (1 - KEPT ** (iteration + 1))))
        if found[-1][1] > 4 * min(value for _, value in found):
            break
    env.restore(start)
    return found


def steepest(found):
    """The rate at which the loss falls fastest."""
    slopes = [later[1] - earlier[1] for earlier, later in zip(found, found[10:], strict=False)]
    return found[slopes.index(min(slopes)) + 5][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in (("dataset", "digits"), ("depth", 10), ("widen_factor", 1),
                        ("batch_size", 64), ("momentum", 0.9)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(usual), default=usual)
    env = CNNEnv(**vars(parser.parse_args()))
    found = range_test(env)
    rate = steepest(found)
    print(f"{len(found)} iterations; the loss falls fastest at a learning rate of {rate:.2g}")

    import matplotlib
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
