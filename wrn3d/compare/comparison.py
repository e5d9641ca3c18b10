"""Train two sides in turn; record their results and their differences."""

from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from wrn3d.compare.side import OF, Side, Step
from wrn3d.training.evaluation import EvalResult
from wrn3d.training.front_ends import SCRIPTS
from wrn3d.training.step import StepResult


@dataclass(frozen=True)
class Run:
    """The results of one side with one seed.

    `peak_memory` is in bytes, None if the system does not report it. `evaluation` is None unless
    the settings ask for it.
    """

    results: list[StepResult]
    first_step_seconds: float
    peak_memory: int | None
    evaluation: EvalResult | None

    @property
    def rate(self) -> float:
        """Median images/s, without the first iteration, which builds the graph."""
        return median(result.images_per_second for result in self.results[1:] or self.results)


@dataclass(frozen=True)
class Difference:
    """Where two sides first differ: iteration, name and largest difference of one array, and the
    number of other arrays that differ too.

    Iteration 0 is the start, before any training.
    """

    iteration: int
    name: str
    size: float
    others: int

    def __str__(self) -> str:
        sentence = f"differs first at iteration {self.iteration} in {self.name} by {self.size:.3g}"
        return sentence + (f" (and {self.others} more)" if self.others else "")


@dataclass(frozen=True)
class Comparison:
    """The runs of both sides with one seed, their first difference, and the largest difference of
    each weight and of the logits at the end."""

    seed: int
    runs: dict[str, Run]
    first: Difference | None
    weights: dict[str, float]
    logits: float
    title: str = ""

    @property
    def largest(self) -> dict[str, float]:
        """Largest differences of the losses, the logits and the weights."""
        losses = ([result.loss for result in run.results] for run in self.runs.values())
        return {
            "loss": largest_difference(*losses),
            "logits": self.logits,
            "weights": max(self.weights.values()),
        }

    @property
    def size(self) -> float:
        """The largest of all differences."""
        return max(*self.largest.values(), self.first.size if self.first else 0.0)

    def agrees(self, tolerance: float) -> bool:
        """Return whether the runs are identical, or differ by at most a positive `tolerance`."""
        return self.first is None or self.size <= tolerance > 0


class Pair:
    """A context that trains both sides in turn, so that neither slows the other down.

    `settings` are the keywords of CNNEnv. `total` is the number of iterations in a run. `title`
    describes the network and the data set. Raises the UserError of a side.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.sides: list[Side] = []
        self.first_steps: list[Step] = []
        self.first: Difference | None = None

    def __enter__(self) -> "Pair":
        with ExitStack() as stack:
            starts = []
            for front_end in SCRIPTS:
                side = stack.enter_context(Side(front_end, self.settings))
                starts.append(side.ask("arrays"))
                # Take the first step before the other side starts: the report has the time to the
                # first step, and the other side would slow it down.
                self.first_steps.append(side.step())
                self.sides.append(side)
            self.first = _difference_of_arrays(0, *starts)
            self.title, self.total = self.sides[0].ask("title_and_length")
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stack.close()

    def step(self) -> list[StepResult]:
        """Train one iteration on each side; return both results."""
        steps = self.first_steps or [side.step() for side in self.sides]
        self.first_steps = []
        self.first = self.first or self._difference_of_steps(*steps)
        return [step.result for step in steps]

    def comparison(self, evaluate: bool) -> Comparison:
        """Return the results so far, with the scores on the test split if `evaluate`."""
        memory = [side.ask("peak_memory") for side in self.sides]  # before logits add to it
        logits = [side.ask("logits") for side in self.sides]
        evaluations = [side.ask("evaluation") if evaluate else None for side in self.sides]
        runs = {
            side.front_end: Run(side.results, side.first_step_seconds, *rest)
            for side, *rest in zip(self.sides, memory, evaluations, strict=True)
        }
        last = len(self.sides[0].results)
        if self.first is None and logits[0].tobytes() != logits[1].tobytes():
            self.first = Difference(last, "the logits", largest_difference(*logits), 0)
        if self.first is None and str(evaluations[0]) != str(evaluations[1]):
            scores = (list(one.by_name.values()) if one else [] for one in evaluations)
            self.first = Difference(last, "the evaluation", largest_difference(*scores), 0)
        left, right = (side.ask("arrays") for side in self.sides)
        weights = {
            name: largest_difference(left[name], right[name]) for name in left if OF not in name
        }
        return Comparison(
            self.settings["seed"],
            runs,
            self.first,
            weights,
            largest_difference(*logits),
            self.title,
        )

    def _difference_of_steps(self, left, right):
        iteration = left.result.iteration
        if left.digest != right.digest:
            arrays = (side.ask("arrays") for side in self.sides)
            return _difference_of_arrays(iteration, *arrays)
        for name in ("loss", "accuracy"):
            values = getattr(left.result, name), getattr(right.result, name)
            if values[0].hex() != values[1].hex():
                return Difference(iteration, f"the {name}", largest_difference(*values), 0)
        return None


def _difference_of_arrays(iteration, left, right):
    """Return the Difference in the first array whose bits differ, or None if all are identical."""
    names = [name for name in left if left[name].tobytes() != right[name].tobytes()]
    if not names:
        return None
    size = largest_difference(left[names[0]], right[names[0]])
    return Difference(iteration, names[0], size, len(names) - 1)


def largest_difference(left: Any, right: Any) -> float:
    """Return the largest absolute difference of two arrays or numbers, computed in float64.

    NaN equals NaN; NaN and a number differ by infinity.
    """
    left, right = (np.asarray(array, np.float64) for array in (left, right))
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        size = np.where(left == right, 0.0, np.abs(left - right))
    size[np.isnan(left) & np.isnan(right)] = 0.0
    return float(np.nan_to_num(size, nan=np.inf, posinf=np.inf).max())
