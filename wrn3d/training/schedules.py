"""The learning rate as a function of the iteration, so that a run can resume at any of them."""

from math import cos, pi
from typing import Any


def _constant(settings: Any, share: float) -> float:
    return 1.0


def _steps(settings: Any, share: float) -> float:
    passed = sum(share >= milestone for milestone in settings.milestones)
    return float(settings.milestone_factor**passed)


def _linear(settings: Any, share: float) -> float:
    return 1 - _after_warmup(settings, share)


def _cosine(settings: Any, share: float) -> float:
    return (1 + cos(pi * _after_warmup(settings, share))) / 2


def _after_warmup(settings: Any, share: float) -> float:
    return float(min(1.0, max(0.0, (share - settings.warmup) / (1 - settings.warmup))))


SCHEDULES = {"constant": _constant, "steps": _steps, "linear": _linear, "cosine": _cosine}


def learning_rate(settings: Any, iteration: int, total: int) -> float:
    """Return the learning rate after `iteration` of `total` iterations.

    `settings` is a TrainingConfig. The rate rises to `learning_rate` in the first `warmup` of the
    run. From there "linear" and "cosine" fall to zero at its end. "steps" multiplies by
    `milestone_factor` at each of `milestones` (paper, section 3: 0.2 at 0.3, 0.6 and 0.8). Warmup
    and milestones are shares of the run.
    """
    rising = min(1.0, (iteration + 1) / max(1.0, settings.warmup * total))
    share = iteration / total
    return float(settings.learning_rate * rising * SCHEDULES[settings.schedule](settings, share))
