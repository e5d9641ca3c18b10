"""Two sides, iteration by iteration: what each reached, and where they differ."""

from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

import numpy as np

from wrn3d.compare.side import OF, Side
from wrn3d.training.front_ends import SCRIPTS


@dataclass(frozen=True)
class Run:
    """What one side did with one seed; memory in bytes, None where the system does not tell."""

    results: list  # of StepResult
    first_step_seconds: float
    peak_memory: int | None
    evaluation: object  # EvalResult, or None where it was not asked for

    @property
    def rate(self) -> float:
        """Median images/s after the first iteration, which builds the graph."""
        return median(result.images_per_second for result in self.results[1:] or self.results)


@dataclass(frozen=True)
class Difference:
    """Where the sides first differ: the largest difference of the array that is named.

    Iteration 0 is the start, before any training.
    """

    iteration: int
    name: str
    size: float
    others: int  # arrays that differ, too

    def __str__(self):
        others = f" (and {self.others} more)" if self.others else ""
        return (
            f"differs first at iteration {self.iteration} in {self.name} by {self.size:.3g}"
            + others
        )


@dataclass(frozen=True)
class Comparison:
    """Both runs of one seed, and the largest differences between them."""

    seed: int
    runs: dict[str, Run]
    first: Difference | None
    weights: dict[str, float]  # at the end, by parameter
    logits: float  # at the end
    title: str = ""  # what was trained

    @property
    def loss(self) -> float:
        """Over all iterations."""
        return max(
            largest_difference(left.loss, right.loss)
            for left, right in zip(*(run.results for run in self.runs.values()), strict=True)
        )

    @property
    def largest(self) -> dict[str, float]:
        """{what: its largest difference}."""
        return {"loss": self.loss, "logits": self.logits, "weights": max(self.weights.values())}

    @property
    def size(self) -> float:
        """The largest difference of all that was compared."""
        return max(*self.largest.values(), self.first.size if self.first else 0.0)

    def agrees(self, tolerance) -> bool:
        """Identical, or nowhere further apart than a tolerance above zero."""
        return self.first is None or self.size <= tolerance > 0


class Pair:
    """A context with both sides of a run, which are taken forward in turn, so that neither
    disturbs the other. Raises UserError where a side does.

    `settings` are CNNEnv's; `total` is the number of iterations that they mean, `title` what is
    trained.
    """

    def __init__(self, settings):
        self.settings = settings
        self.sides, self.first_steps, self.first = [], [], None
        self.results = {front_end: [] for front_end in SCRIPTS}

    def __enter__(self):
        with ExitStack() as stack:
            starts = []
            for front_end in SCRIPTS:
                side = stack.enter_context(Side(front_end, self.settings))
                starts.append(side.arrays())
                # Before the other side starts: the time to the first step counts from the start.
                self.first_steps.append(side.step())
                self.sides.append(side)
            self.first = _difference_of_arrays(
                0,
                [
                    name
                    for name, array in starts[0].items()
                    if array.tobytes() != starts[1][name].tobytes()
                ],
                starts,
            )
            self.total, self.title = self.sides[0].total_iterations(), self.sides[0].title()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self.stack.close()

    def step(self):
        """One iteration of both: their two StepResults."""
        steps = self.first_steps or [side.step() for side in self.sides]
        self.first_steps = []
        for results, step in zip(self.results.values(), steps, strict=True):
            results.append(step.result)
        self.first = self.first or self._difference_of_steps(*steps)
        return [step.result for step in steps]

    def comparison(self, evaluate) -> Comparison:
        """What came of it so far; `evaluate` says whether on the test split, too."""
        memory = [side.peak_memory() for side in self.sides]  # in training
        logits = [side.logits() for side in self.sides]
        evaluations = [side.evaluation() if evaluate else None for side in self.sides]
        runs = {
            side.front_end: Run(self.results[side.front_end], side.first_step_seconds, *rest)
            for side, *rest in zip(self.sides, memory, evaluations, strict=True)
        }
        last = len(self.results[self.sides[0].front_end])
        if self.first is None and logits[0].tobytes() != logits[1].tobytes():
            self.first = Difference(last, "the logits", largest_difference(*logits), 0)
        if self.first is None and str(evaluations[0]) != str(evaluations[1]):
            self.first = Difference(last, "the evaluation", largest_difference(*evaluations), 0)
        left, right = (side.arrays() for side in self.sides)
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
        names = [name for name, digest in left.digests.items() if right.digests[name] != digest]
        found = _difference_of_arrays(
            iteration, names, names and [side.arrays() for side in self.sides]
        )
        for name in ("loss", "accuracy"):
            values = getattr(left.result, name), getattr(right.result, name)
            if found is None and values[0].hex() != values[1].hex():
                found = Difference(iteration, f"the {name}", largest_difference(*values), 0)
        return found


def _difference_of_arrays(iteration, names, arrays):
    if not names:
        return None
    size = largest_difference(*(side[names[0]] for side in arrays))
    return Difference(iteration, names[0], size, len(names) - 1)


def largest_difference(left, right) -> float:
    """The largest absolute difference of two arrays or numbers, in float64; two NaN are equal,
    one alone is infinitely far away."""
    left, right = (np.asarray(array, np.float64) for array in (left, right))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        size = np.where(left == right, 0.0, np.abs(left - right))
    size[np.isnan(left) & np.isnan(right)] = 0.0
    return float(np.nan_to_num(size, nan=np.inf, posinf=np.inf).max())
