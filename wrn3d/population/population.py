"""Several runs that share one environment, copy each other and explore settings."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, inf, isnan
from pathlib import Path
from typing import Any, overload

from wrn3d.population import saved
from wrn3d.population.lineage import Lineage, Segment, check_environment
from wrn3d.population.member import Member
from wrn3d.population.shared import SharedEnvironment
from wrn3d.system.checks import check_choice, check_count, check_number, require
from wrn3d.system.errors import quoted
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.evaluation import EvalResult
from wrn3d.training.state import NotCopyable
from wrn3d.training.step import StepResult

FACTORS = 0.8, 1.25  # of explored settings


class Population(NotCopyable, Sequence[Member]):
    """`size` runs in one environment: one graph in one process, and a state for each.

        env = CNNEnv(dataset="digits", validation=300, momentum=0.9)
        population = wrn3d.Population(env, 8)
        for member in population:
            member.draw(learning_rate=(0.01, 0.5))
        for turn in range(10):
            if turn:
                population.evolve()
            population.step(20)
            population.evaluate()
        print(population.best().settings)

    The members begin where the environment is, with its seed, so that all see the same batches.
    Train through the members alone: the environment has the state of the one that was used last,
    and members refuse to go on if somebody else has changed it. `settings`, such as
    learning_rate=0.1, are those of all members. The environment's seed decides all that the members
    draw, so that it decides the population, to the last bit, in either front end.

    `env` is the environment. `history` lists copies, draws and evaluations as dictionaries.

    Raises UsageError for a population of one, and for settings that a run cannot change.
    """

    def __init__(self, env: TrainingEnvironment, size: int, **settings: float) -> None:
        check_environment(env)
        check_count("size", size, least=2)
        start, seed = env.snapshot(), env.config.seed
        begin = Lineage((Segment(start.iteration, {}),), start.iteration, seed)
        self.shared = SharedEnvironment(env, [start] * size, seed)
        self.members = tuple(Member(self.shared, number, begin) for number in range(size))
        for member in self.members:
            member.set(**settings)

    @property
    def env(self) -> TrainingEnvironment:
        """The environment that the members share."""
        return self.shared.env

    @property
    def history(self) -> list[dict[str, Any]]:
        """What happened, in order: {"event", "member", "iteration", ...}."""
        return self.shared.history

    def __len__(self) -> int:
        return len(self.members)

    @overload
    def __getitem__(self, place: int) -> Member: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Member]: ...
    def __getitem__(self, place: int | slice) -> Member | Sequence[Member]:
        return self.members[place]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def step(self, count: int = 1) -> list[list[StepResult]]:
        """Train `count` iterations of each member, and return their results by member.

        Raises what `env.step` raises.
        """
        return [member.step(count) for member in self.members]

    def evaluate(self, split: str = "validation") -> list[EvalResult]:
        """Measure each member on a split; raises what `env.evaluate` raises."""
        return [member.evaluate(split) for member in self.members]

    def ranked(self, by: str = "accuracy") -> list[Member]:
        """Return the members by their last evaluation, the best first; "loss" ranks the lowest.

        NaN comes last. Of equal members, the one with the lower number comes first. Raises
        UsageError if one has no result, if they were measured on different splits, or for another
        score.
        """
        splits = {member.measured_on for member in self.members if member.result}
        require(
            len(splits) < 2,
            f"the members were measured on different splits, {' and '.join(sorted(splits))}: call "
            "evaluate for all",
        )
        return sorted(self.members, key=lambda member: -_score(member, by))

    def best(self, by: str = "accuracy") -> Member:
        """Return the first of `ranked`."""
        return self.ranked(by)[0]

    def evolve(
        self,
        share: float = 0.25,
        by: str = "accuracy",
        factors: Mapping[str, Sequence[float]] | None = None,
    ) -> list[tuple[Member, Member]]:
        """Let the worst members copy the best, then explore: population-based training.

        The worst `share` (at least one, at most half of the members) copy the best ones, the worst
        the best, and multiply their settings by `factors`, by default each by 0.8 or 1.25
        (truncation selection of Jaderberg et al. 2017, arXiv:1711.09846, section 4.1.1, with fixed
        pairs). Returns the pairs (copy, original). Raises UsageError as `ranked` does, and if the
        members have no settings to explore.
        """
        require(
            0 < check_number("share", share) <= 0.5,
            f"share is {quoted(share)}, but must be above 0, up to 0.5",
        )
        require(
            factors is None
            or (isinstance(factors, Mapping) and all(isinstance(name, str) for name in factors)),
            f"factors is {quoted(factors)}, but must be a dictionary, such as "
            '{"learning_rate": (0.8, 1.25)}',
        )
        require(
            factors or all(member.settings for member in self.members),
            "the members have no settings to explore: choose some before, with set or draw",
        )
        order = self.ranked(by)
        count = min(ceil(share * len(order)), len(order) // 2)
        pairs = list(zip(reversed(order[-count:]), order[:count], strict=True))
        for member, better in pairs:
            member.exploit(better)
            member.explore(**(factors or dict.fromkeys(member.settings, FACTORS)))
        return pairs

    def save(self, folder: str | Path) -> None:
        """Write the whole population to a folder; a kill in between leaves the one before.

        Of several workers, only the first writes. Raises UserError if it cannot be written.
        """
        if self.env.worker.index == 0:
            saved.save(folder, self.members, self.shared)

    @classmethod
    def load(cls, folder: str | Path, env: TrainingEnvironment) -> "Population":
        """Continue a population that `save` wrote, in an environment with the same settings.

        Raises MissingDataError or DataError if it cannot be read, and UsageError for an environment
        with other data or settings.
        """
        content = saved.read(folder, env)
        population = cls(env, len(content.members))
        population.shared.seed = content.seed
        population.history.extend(content.history)
        for member, kept in zip(population.members, content.members, strict=True):
            member.adopt(kept.state, kept.lineage, kept.result, kept.measured_on)
            member.draws = kept.draws
        return population


def _score(member: Member, by: str) -> float:
    """Return a member's score, higher for better ones; raise UsageError as `ranked` does."""
    require(
        member.result is not None,
        f"member {member.number} has changed since its last evaluation: call evaluate first",
    )
    scores = member.result.by_name if member.result else {}
    check_choice("by", by, scores)
    score = -scores[by] if by == "loss" else scores[by]
    return -inf if isnan(score) else score
