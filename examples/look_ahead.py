"""Look ahead: try three learning rates from each snapshot, and keep the best.

    python -m examples.look_ahead

Each round starts from a snapshot. For each rate it trains ROUND iterations, then COOLING more with
a tenth of the rate, and measures the loss on the validation split. It continues from the end of
ROUND with the best rate. (Without COOLING the lowest rate would always look best.) For comparison
each rate also trains alone, for as many iterations. The test split decides. Takes two minutes and
writes look_ahead.png.
"""

import sys
from math import isnan

from cifar_wide_resnet_tl import CNNEnv
from wrn3d.system.flags import run_without_flags

SETTINGS = {
    "dataset": "digits",
    "depth": 10,
    "widen_factor": 1,
    "batch_size": 64,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "validation": 300,
    "augment": True,
    "flip_axes": (),
}
RATES = (0.2, 0.05, 0.0125)
ROUND, COOLING = 40, 20  # iterations
ROUNDS = 10


def train(env, rate, iterations):
    """Train some iterations with one rate; return the validation loss after them."""
    for _ in range(iterations):
        env.step(learning_rate=rate)
    return env.evaluate("validation").loss


def constant(env, rate):
    """Train with one rate; return the validation loss after each round."""
    return [train(env, rate, ROUND) for _ in range(ROUNDS)]


def look_ahead(env, rounds):
    """Train with looking ahead; return the validation loss after each round."""
    losses = []
    for number in range(rounds):
        start, candidates = env.snapshot(), []
        for rate in RATES:
            env.restore(start)
            loss = train(env, rate, ROUND)
            state = env.snapshot()
            cooled = loss if number == rounds - 1 else train(env, rate / 10, COOLING)
            candidates.append((cooled, loss, rate, state))
        # A NaN loss, after divergence, comes last: min would keep it if it came first.
        _, loss, rate, state = min(candidates, key=lambda one: (isnan(one[0]), one[0]))
        env.restore(state)
        losses.append(loss)
        print(f"iteration {env.iteration}: kept the rate {rate:g}, validation loss {loss:.4f}")
    return losses


def main():
    env, curves = CNNEnv(**SETTINGS), {}
    runs = {f"always {rate:g}": lambda rate=rate: constant(env, rate) for rate in RATES}
    for name, run in (runs | {"look ahead": lambda: look_ahead(env, ROUNDS)}).items():
        env.reset()
        curves[name] = run()
        test = env.evaluate()
        print(f"{name}: test loss {test.loss:.4f}, accuracy {test.accuracy:.4f}", flush=True)

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.figure(figsize=(7, 4))
    for name, losses in curves.items():
        pyplot.semilogy(range(ROUND, ROUND * ROUNDS + 1, ROUND), losses, label=name)
    pyplot.xlabel("iteration")
    pyplot.ylabel("validation loss")
    pyplot.legend()
    pyplot.savefig("look_ahead.png", dpi=120, bbox_inches="tight")
    print("drawn in look_ahead.png")


if __name__ == "__main__":
    sys.exit(run_without_flags(main, "examples.look_ahead", __doc__))
