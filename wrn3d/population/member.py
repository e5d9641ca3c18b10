"""One run of a population: its settings, its state and its scores."""

from collections.abc import Mapping, Sequence
from math import exp, log
from types import MappingProxyType
from typing import Any

import numpy as np

from wrn3d.population.lineage import Lineage, checked_settings
from wrn3d.population.shared import SharedEnvironment
from wrn3d.system.checks import check_count, check_number, check_share, require
from wrn3d.system.errors import quoted
from wrn3d.system.interrupts import uninterrupted
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.evaluation import EvalResult
from wrn3d.training.step import ADJUSTABLE, StepResult

LARGEST_SHARE = 0.99  # of settings that are shares, such as momentum, after `explore`


class Member:
    """A run of a population, in the environment that it shares with the others.

    `number` is its place in the population, from 0. `result` is its last evaluation, on the split
    `measured_on`; it is None if weights or settings have changed since.
    """

    def __init__(self, shared: SharedEnvironment, number: int, lineage: Lineage) -> None:
        self.shared, self.number = shared, number
        self.result: EvalResult | None = None
        self.measured_on = ""
        self.draws = 0  # how often it has drawn settings at random
        self._lineage = lineage  # its `iterations` may be behind

    @property
    def iteration(self) -> int:
        """How many iterations its weights were trained for."""
        shared = self.shared
        is_active = shared.active == self.number
        return shared.env.iteration if is_active else shared.states[self.number].iteration

    @property
    def state(self) -> Checkpoint:
        """Its whole state, as `env.snapshot()` returns it."""
        return self.shared.state_of(self.number)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of its next iterations; those not named are the environment's."""
        return MappingProxyType(self._lineage.segments[-1].settings)

    @property
    def lineage(self) -> Lineage:
        """The settings of all iterations that made its weights, also of those that it copied."""
        return Lineage(self._lineage.segments, self.iteration, self._lineage.seed)

    def set(self, **settings: float) -> None:
        """Choose learning_rate, momentum, weight_decay or dropout for the next iterations.

        Raises UsageError for other settings, for invalid values, and for a setting that is 0 in the
        environment.
        """
        chosen = {**self.settings, **checked_settings(settings, self.shared.env.config)}
        if chosen != self.settings:
            self._lineage = self._lineage.then(self.iteration, chosen)
            self.result = None

    def step(self, count: int = 1) -> list[StepResult]:
        """Train `count` iterations with its settings, and return their results.

        Raises what `env.step` raises.
        """
        check_count("count", count)
        return [self._step() for _ in range(count)]

    @uninterrupted()
    def _step(self) -> StepResult:
        self.shared.enter(self.number)
        self.result = None
        try:
            return self.shared.env.step(**self.settings)
        finally:
            self.shared.note()

    def evaluate(self, split: str = "validation") -> EvalResult:
        """Return its scores on a split, and keep them as `result`.

        Raises UsageError for a split that does not exist.
        """
        self.shared.enter(self.number)
        self.result, self.measured_on = self.shared.env.evaluate(split), split
        self._note("evaluated", split=split, scores=self.result.as_json)
        return self.result

    def exploit(self, other: "Member") -> None:
        """Take over another member's weights, momentum, position, settings and result.

        Raises UsageError for a member of another population.
        """
        require(
            isinstance(other, Member) and other.shared is self.shared,
            "exploit takes another member of the same population",
        )
        if other is not self:
            self.adopt(other.state, other.lineage, other.result, other.measured_on)
            self._note("copied", source=other.number)

    @uninterrupted()
    def adopt(
        self, state: Checkpoint, lineage: Lineage, result: EvalResult | None, measured_on: str
    ) -> None:
        """Continue from a state that came to be as a lineage says."""
        self.shared.put(self.number, state)
        self._lineage, self.result, self.measured_on = lineage, result, measured_on

    def explore(self, **factors: Sequence[float]) -> None:
        """Multiply each of some settings by one of its factors, chosen at random.

            member.explore(learning_rate=(0.8, 1.25), momentum=(0.9, 1.1))

        Momentum and dropout stay below 1. What is drawn follows from the population's seed, the
        member and how often it has drawn. Raises UsageError as `set` does, for a setting without a
        value to multiply, and for other factors.
        """
        for name, some in factors.items():
            require(
                name in self.settings,
                f"{quoted(name)} of member {self.number} has no value to multiply: choose one "
                "before, with set or draw",
            )
            _check_numbers(name, some)
        rng = self._next_rng()
        chosen = {}
        for name, some in factors.items():
            value = self.settings[name] * some[int(rng.integers(len(some)))]
            is_share = ADJUSTABLE.get(name) is check_share
            chosen[name] = min(value, LARGEST_SHARE) if is_share else value
        self.set(**chosen)
        self._note("explored", **chosen)

    def draw(self, **ranges: Sequence[float]) -> None:
        """Draw settings at random, log-uniformly between two numbers above 0 each.

            member.draw(learning_rate=(0.01, 0.5))

        Raises UsageError as `set` does, and for other ranges.
        """
        for name, ends in ranges.items():
            _check_numbers(name, ends)
            require(
                len(ends) == 2 and 0 < ends[0] <= ends[1],
                f"{name} is {quoted(ends)}, but must be two numbers above 0, the lower one first",
            )
        rng = self._next_rng()
        chosen = {name: exp(rng.uniform(log(a), log(b))) for name, (a, b) in ranges.items()}
        self.set(**chosen)
        self._note("drew", **chosen)

    def _next_rng(self) -> np.random.Generator:
        self.draws += 1
        return np.random.default_rng([self.shared.seed, self.number, self.draws])

    def _note(self, event: str, **details: object) -> None:
        self.shared.history.append(
            {"event": event, "member": self.number, "iteration": self.iteration, **details}
        )


def _check_numbers(name: str, values: Sequence[float]) -> None:
    """Raise UsageError unless `values` are one or more numbers from 0 up."""
    require(
        isinstance(values, (tuple, list)) and len(values) > 0,
        f"{name} is {quoted(values)}, but must be a tuple of numbers, such as (0.8, 1.25)",
    )
    for value in values:
        check_number(name, value)
