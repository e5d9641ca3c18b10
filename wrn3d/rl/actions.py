"""Translate actions into settings: a position in each setting's range, or a factor for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
from gymnasium import spaces

from wrn3d.system.checks import check_choice, check_each, require
from wrn3d.system.errors import quoted
from wrn3d.training.config import TrainingConfig

FACTORS = (0.5, 1.0, 2.0)
KINDS = ("continuous", "factors")


@dataclass(frozen=True)
class Range:
    """The lowest and highest value of a setting, and positions from -1 to 1 between them.

    Equal steps of the position are equal steps of the value's logarithm or, if `complement`, of
    the logarithm of 1 minus the value.
    """

    low: float
    high: float
    complement: bool = False

    def value_at(self, position: float) -> float:
        """Return the value at a position, which is clipped to [-1, 1]."""
        share = (min(1.0, max(-1.0, float(position))) + 1) / 2
        start, end = self._logs()
        return self._turned(exp(start + share * (end - start)))

    def position_of(self, value: float) -> float:
        """Return the position of a value, which is clipped to the range."""
        start, end = self._logs()
        share = (log(self._turned(min(self.high, max(self.low, value)))) - start) / (end - start)
        return 2 * share - 1

    def multiplied(self, value: float, factor: float) -> float:
        """Return `value` times `factor`, clipped to the range.

        If `complement`, 1 minus the value is divided by `factor` instead.
        """
        changed = 1 - (1 - value) / factor if self.complement else value * factor
        return min(self.high, max(self.low, changed))

    def _logs(self) -> tuple[float, float]:
        return log(self._turned(self.low)), log(self._turned(self.high))

    def _turned(self, value: float) -> float:
        return 1 - value if self.complement else value


RANGES = {
    "learning_rate": Range(1e-4, 1.0),
    "momentum": Range(0.5, 0.999, complement=True),
    "weight_decay": Range(1e-6, 1e-2),
    "dropout": Range(0.01, 0.8),
}


class Control:
    """The actions, which adjust the named settings.

    With the kind "continuous" an action is the position of each setting in its range. With
    "factors" it is an index into FACTORS for each setting, and that factor multiplies the setting.

    Raises UsageError for another kind, for a setting that is not in RANGES or is named twice, and
    if no setting is named.
    """

    def __init__(self, kind: str, names: Sequence[str]) -> None:
        check_choice("control", kind, KINDS)
        self.kind = kind
        self.names: tuple[str, ...] = check_each("adjust", names, check_choice, tuple(RANGES))
        require(self.names, f"adjust names no setting: name some of {', '.join(RANGES)}")
        count = len(self.names)
        require(len(set(self.names)) == count, "adjust names a setting twice: name each once")
        self.space: spaces.Space[Any]
        if kind == "continuous":
            self.space = spaces.Box(-1.0, 1.0, (count,), np.float32)
        elif count == 1:
            self.space = spaces.Discrete(len(FACTORS))
        else:
            self.space = spaces.MultiDiscrete([len(FACTORS)] * count)

    def start(self, config: TrainingConfig) -> dict[str, float]:
        """Return the adjusted settings at an episode's start: `config`'s, clipped to their ranges.

        Raises UsageError for a setting that is 0.
        """
        values = {name: getattr(config, name) for name in self.names}
        for name, value in values.items():
            require(value, f"adjust names {name}, but it is 0 in this run: set {name} above 0")
        return {name: RANGES[name].multiplied(value, 1.0) for name, value in values.items()}

    def apply(self, action: Any, settings: Mapping[str, float]) -> dict[str, float]:
        """Return the settings after `action`, given those before it.

        Positions are clipped to [-1, 1]. Raises UsageError for anything that is not an action.
        """
        pairs = zip(self.names, self._choices(action), strict=True)
        if self.kind == "continuous":
            return {name: RANGES[name].value_at(choice) for name, choice in pairs}
        return {
            name: RANGES[name].multiplied(settings[name], FACTORS[int(choice)])
            for name, choice in pairs
        }

    def _choices(self, action: Any) -> np.ndarray:
        """Return the action as an array with one number for each setting."""
        try:
            choices = np.asarray(action).ravel()
        except Exception:  # lists of different lengths, tensors that need gradients
            choices = np.array([])
        valid = len(choices) == len(self.names) and choices.dtype.kind in "iuf"
        if self.kind == "continuous":
            expected = "a number from -1 to 1"
            valid = valid and bool(np.isfinite(choices).all())
        else:
            expected = f"a whole number from 0 to {len(FACTORS) - 1}"
            valid = valid and bool(np.isin(choices, range(len(FACTORS))).all())
        require(
            valid,
            f"action is {quoted(action)}, but must be {expected} for each of "
            f"{', '.join(self.names)}",
        )
        return choices
