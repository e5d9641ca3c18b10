"""One run of a population: its settings, its state and its scores."""

from collections.abc import Mapping, Sequence
from math import exp, log
from types import MappingProxyType
from typing import Any

import numpy as np

from wrn3d.population.lineage import Lineage, checked_settings
from wrn3d.population.shared import SharedEnvironment
from wrn3d.system.checks import check_count, require
from wrn3d.system.errors import quoted
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.evaluation import EvalResult
from wrn3d.training.step import StepResult

LARGEST_SHARE = 0.99  # of momentum and dropout, after `explore`
SHARES = ("momentum", "dropout")


class Member:
    """A run of a population, in the environment that it shares with the others.

    `number` is its place in the population, from 0. `result` is its last evaluation, or None if its
    weights have changed since. `held` is its state while another member is in the environment.
    """

    def __init__(
        self, shared: SharedEnvironment, number: int, state: Checkpoint, lineage: Lineage
    ) -> None:
        self.shared, self.number = shared, number
        self.held: Checkpoint | None = state
        self.result: EvalResult | None = None
        self.draws = 0  # how often it has drawn settings at random
        self._segments = lineage.segments

    @property
    def iteration(self) -> int:
        """How many iterations its weights were trained for."""
        return self.shared.env.iteration if self.held is None else self.held.iteration

    @property
    def state(self) -> Checkpoint:
        """Its whole state, as `env.snapshot()` returns it."""
        return self.shared.state_of(self)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of its next iterations; those not named are the environment's."""
        return MappingProxyType(self._segments[-1].settings)

    @property
    def lineage(self) -> Lineage:
        """The settings of all iterations that made its weights, also of those that it copied."""
        return Lineage(self._segments, self.iteration)

    def set(self, **settings: float) -> None:
        """Choose learning_rate, momentum, weight_decay or dropout for the next iterations.

        Raises UsageError for other settings, for invalid values, and for a setting that is 0 in the
        environment.
        """
        checked = checked_settings(settings, self.shared.env.config)
        self._segments = self.lineage.then(self.iteration, {**self.settings, **checked}).segments

    def step(self, count: int = 1) -> list[StepResult]:
        """Train `count` iterations with its settings, and return their results.

        Raises what `env.step` raises.
        """
        check_count("count", count)
        self.shared.enter(self)
        self.result = None
        return [self.shared.env.step(**self.settings) for _ in range(count)]

    def evaluate(self, split: str = "validation") -> EvalResult:
        """Return its scores on a split, and keep them as `result`.

        Raises UsageError for a split that does not exist.
        """
        self.shared.enter(self)
        self.result = self.shared.env.evaluate(split)
        self._note("evaluated", split=split, **self.result.by_name)
        return self.result

    def exploit(self, other: "Member") -> None:
        """Take over another member's weights, momentum, position and settings.

        Raises UsageError for a member of another population.
        """
        require(
            isinstance(other, Member) and other.shared is self.shared,
            "exploit takes another member of the same population",
        )
        if other is not self:
            self.shared.replace(self, other.state)
            self._segments, self.result = other.lineage.segments, other.result
            self._note("copied", source=other.number)

    def explore(self, **factors: Sequence[float]) -> None:
        """Multiply each of some settings by one of its factors, chosen at random.

            member.explore(learning_rate=(0.8, 1.25), momentum=(0.9, 1.1))

        Momentum and dropout stay below 1. What is drawn follows from the population's seed, the
        member and how often it has drawn. Raises UsageError as `set` does, and for a setting
        without a value to multiply.
        """
        rng = self._next_rng()
        chosen = {}
        for name, some in factors.items():
            require(
                name in self.settings,
                f"{quoted(name)} of member {self.number} has no value to multiply: choose one "
                "before, with set or draw",
            )
            value = self.settings[name] * float(rng.choice(some))
            chosen[name] = min(value, LARGEST_SHARE) if name in SHARES else value
        self.set(**chosen)
        self._note("explored", **chosen)

    def draw(self, **ranges: tuple[float, float]) -> None:
        """Draw settings at random, log-uniformly between two numbers above 0 each.

            member.draw(learning_rate=(0.01, 0.5))

        Raises UsageError as `set` does, and for other ranges.
        """
        rng = self._next_rng()
        chosen = {}
        for name, ends in ranges.items():
            require(
                len(ends) == 2 and 0 < ends[0] <= ends[1],
                f"{name} is {quoted(ends)}, but must be two numbers above 0, the lower one first",
            )
            chosen[name] = exp(rng.uniform(log(ends[0]), log(ends[1])))
        self.set(**chosen)
        self._note("drew", **chosen)

    def restore(
        self, state: Checkpoint, lineage: Lineage, draws: int, result: EvalResult | None
    ) -> None:
        """Continue as a member of a saved population was."""
        self.shared.replace(self, state)
        self._segments, self.draws, self.result = lineage.segments, draws, result

    def _next_rng(self) -> np.random.Generator:
        self.draws += 1
        return np.random.default_rng([self.shared.seed, self.number, self.draws])

    def _note(self, event: str, **details: object) -> None:
        self.shared.history.append(
            {"event": event, "member": self.number, "iteration": self.iteration, **details}
        )
