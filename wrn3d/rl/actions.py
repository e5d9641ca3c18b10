"""What an action is: positions in the ranges of settings, or factors on them."""

from dataclasses import dataclass
from math import exp, log

import numpy as np
from gymnasium import spaces

from wrn3d.system.checks import check_choice, check_each, require
from wrn3d.system.errors import quoted

FACTORS = (0.5, 1.0, 2.0)
KINDS = ("continuous", "factors")


@dataclass(frozen=True)
class Range:
    """A setting's lowest and highest value; the positions -1 to 1 between them are equal steps of
    its logarithm or, if `of_rest`, of that of what it leaves to 1."""

    low: float
    high: float
    of_rest: bool = False

    def value_at(self, position) -> float:
        share = (min(1.0, max(-1.0, float(position))) + 1) / 2
        start, end = self._logs()
        return self._turned(exp(start + share * (end - start)))

    def position_of(self, value) -> float:
        start, end = self._logs()
        share = (log(self._turned(min(self.high, max(self.low, value)))) - start) / (end - start)
        return 2 * share - 1

    def multiplied(self, value, factor) -> float:
        """`value`, or what it leaves to 1, times `factor`: twice as much is twice as far either
        way."""
        changed = 1 - (1 - value) / factor if self.of_rest else value * factor
        return min(self.high, max(self.low, changed))

    def _logs(self):
        return log(self._turned(self.low)), log(self._turned(self.high))

    def _turned(self, value):
        return 1 - value if self.of_rest else value


RANGES = {
    "learning_rate": Range(1e-4, 1.0),
    "momentum": Range(0.5, 0.999, of_rest=True),
    "weight_decay": Range(1e-6, 1e-2),
    "dropout": Range(0.01, 0.8),
}


class Control:
    """The actions on the settings that are `named`: each setting's position in its range, of `kind`
    "continuous", or one of FACTORS on its last value, of `kind` "factors".

    Raises UsageError for another kind, a setting that is not in RANGES or twice, or none.
    """

    def __init__(self, kind, named):
        check_choice("control", kind, KINDS)
        self.kind = kind
        self.names = check_each("adjust", named, check_choice, tuple(RANGES))
        require(self.names, f"adjust names no setting: give it some of {', '.join(RANGES)}")
        count = len(self.names)
        require(len(set(self.names)) == count, "adjust names a setting twice")
        if kind == "continuous":
            self.space = spaces.Box(-1.0, 1.0, (count,), np.float32)
        elif count == 1:
            self.space = spaces.Discrete(len(FACTORS))
        else:
            self.space = spaces.MultiDiscrete([len(FACTORS)] * count)

    def start(self, config) -> dict[str, float]:
        """A configuration's own values, where they lie in their ranges, or the nearest."""
        found = {name: getattr(config, name) for name in self.names}
        for name, value in found.items():
            require(
                value,
                f"adjust names {name}, of which the run has none: give its settings a "
                f"{name} above 0",
            )
        return {name: RANGES[name].multiplied(value, 1.0) for name, value in found.items()}

    def apply(self, action, settings) -> dict[str, float]:
        """The settings after `action`, from those before it. A number beyond the ends of a range
        is its end; raises UsageError for what is no action."""
        choices = self._choices(action)
        if self.kind == "continuous":
            return {
                name: RANGES[name].value_at(choice)
                for name, choice in zip(self.names, choices, strict=True)
            }
        return {
            name: RANGES[name].multiplied(settings[name], FACTORS[int(choice)])
            for name, choice in zip(self.names, choices, strict=True)
        }

    def _choices(self, action):
        try:
            choices = np.asarray(action).ravel()
        except ValueError:  # lists of different lengths
            choices = np.array([])
        right = len(choices) == len(self.names) and choices.dtype.kind in "iuf"
        if self.kind == "continuous":
            expected = "a number from -1 to 1"
            right = right and np.isfinite(choices).all()
        else:
            expected = f"a whole number from 0 to {len(FACTORS) - 1}"
            right = right and np.isin(choices, range(len(FACTORS))).all()
        require(
            right,
            f"action is {quoted(action)}, but must be {expected} for each of "
            f"{', '.join(self.names)}",
        )
        return choices
