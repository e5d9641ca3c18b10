"""A controller that looks ahead: of three learning rates it keeps the one that served best.

    python -m examples.look_ahead

From each snapshot it trains ROUND iterations with every rate, then COOLING with a tenth of it,
measures the loss on images that were set aside, and goes on from before the cooling with the best.
(Without the cooling it would keep the lowest rate: that always looks best at once.) Beside it each
rate alone, for as many kept iterations; the test images decide. Writes look_ahead.png. Two minutes.
"""

import matplotlib

from cifar_wide_resnet_tl import CNNEnv

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
ROUND, ROUNDS, COOLING = 40, 10, 20  # iterations, rounds, iterations


def train(env, rate, iterations):
    """The loss on the validation split after so many iterations from where `env` is."""
    for _ in range(iterations):
        env.step(learning_rate=rate)
    return env.evaluate("validation").loss


def constant(env, rate):
    """The validation losses of a run with one rate."""
    env.reset()
    return [train(env, rate, ROUND) for _ in range(ROUNDS)]


def look_ahead(env):
    """The validation losses of the controlled run."""
    env.reset()
    losses = []
    for number in range(ROUNDS):
        start, found = env.snapshot(), []
        for rate in RATES:
            env.restore(start)
            loss = train(env, rate, ROUND)
            state = env.snapshot()
            judged = loss if number == ROUNDS - 1 else train(env, rate / 10, COOLING)
            found.append((judged, loss, rate, state))
        _, loss, rate, state = min(found, key=lambda candidate: candidate[0])
        env.restore(state)
        losses.append(loss)
        print(f"after {env.iteration} iterations it has kept {rate:g}, with a loss of {loss:.4f}")
    return losses


def main():
    env, curves = CNNEnv(**SETTINGS), {}
    runs = {f"always {rate:g}": lambda rate=rate: constant(env, rate) for rate in RATES}
    for name, run in (runs | {"look ahead": lambda: look_ahead(env)}).items():
        curves[name] = run()
        test = env.evaluate()
        print(f"{name}: test loss {test.loss:.4f}, accuracy {test.accuracy:.4f}", flush=True)

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.figure(figsize=(7, 4))
    for name, losses in curves.items():
        pyplot.semilogy(range(ROUND, ROUND * ROUNDS + 1, ROUND), losses, label=name)
    pyplot.xlabel("iterations kept")
    pyplot.ylabel("validation loss")
    pyplot.legend()
    pyplot.savefig("look_ahead.png", dpi=120, bbox_inches="tight")
    print("drawn in look_ahead.png")


if __name__ == "__main__":
    main()
