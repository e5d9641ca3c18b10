"""A controller that looks ahead: of three learning rates it keeps the one that served best.

    python examples/look_ahead.py

From each snapshot it trains ROUND iterations with every rate, measures the loss on images that
were set aside, goes back, and goes on with the best. Beside it each rate alone, for as many kept
iterations; the test images decide. Writes look_ahead.png. A few minutes.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cifar_wide_resnet_tl import CNNEnv

RATES = (0.2, 0.05, 0.0125)
ROUND, ROUNDS = 10, 20
SETTINGS = {"dataset": "digits", "depth": 10, "widen_factor": 1, "batch_size": 64,
            "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "validation": 300}


def train(env, rate):
    """One round from where `env` is; the loss on the validation split after it."""
    for _ in range(ROUND):
        env.step(learning_rate=rate)
    return env.evaluate("validation").loss


def constant(env, rate):
    """The validation losses of a run with one rate."""
    env.reset()
    return [train(env, rate) for _ in range(ROUNDS)]


def look_ahead(env):
    """The validation losses of the controlled run, and the rates that it kept."""
    env.reset()
    losses, rates = [], []
    for _ in range(ROUNDS):
        start, tried = env.snapshot(), {}
        for rate in RATES:
            env.restore(start)
            tried[rate] = train(env, rate), env.snapshot()
        best = min(tried, key=lambda rate: tried[rate][0])
        env.restore(tried[best][1])
        losses.append(tried[best][0])
        rates.append(best)
    return losses, rates


def main():
    env, curves = CNNEnv(**SETTINGS), {}
    for rate in RATES:
        curves[f"always {rate:g}"] = constant(env, rate)
        print(f"always {rate:<8g} test {env.evaluate().loss:.4f}, "
              f"accuracy {env.evaluate().accuracy:.4f}", flush=True)
    curves["look ahead"], rates = look_ahead(env)
    print(f"look ahead      test {env.evaluate().loss:.4f}, "
          f"accuracy {env.evaluate().accuracy:.4f}")
    print("it kept", *map("{:g}".format, rates))

    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    iterations = range(ROUND, ROUND * ROUNDS + 1, ROUND)
    pyplot.figure(figsize=(7, 4))
    for name, losses in curves.items():
        pyplot.semilogy(iterations, losses, label=name, linewidth=3 if " " not in name[6:] else 1)
    pyplot.xlabel("iterations kept")
    pyplot.ylabel("validation loss")
    pyplot.legend()
    pyplot.savefig("look_ahead.png", dpi=120, bbox_inches="tight")
    print("drawn in look_ahead.png")


if __name__ == "__main__":
    main()
