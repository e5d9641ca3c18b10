"""One environment that several runs use in turns."""

from collections.abc import Sequence
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from wrn3d.network.variables import named_variables
from wrn3d.system.checks import require
from wrn3d.system.interrupts import uninterrupted
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.environment import TrainingEnvironment

MARKED = "fc.bias"  # a small array that changes in every iteration


class SharedEnvironment:
    """An environment, the states of its runs, and the number of the run that is in it, if any.

    `states` has the state of each run; that of the `active` one is in the environment instead.
    `seed` decides what the runs draw at random. `history` lists what happened to them.
    """

    def __init__(self, env: TrainingEnvironment, states: Sequence[Checkpoint], seed: int) -> None:
        self.env, self.seed = env, seed
        self.states = list(states)
        self.active: int | None = None
        self.history: list[dict[str, Any]] = []
        self._small = named_variables(env.model)[MARKED]
        self._mark: tuple[int, bytes] | None = None

    @uninterrupted()
    def enter(self, number: int) -> None:
        """Put a run's state into the environment, after saving that of the run that was there.

        Raises UsageError if somebody else has changed the environment since.
        """
        owner = _owners[self.env]() if self.env in _owners else None
        if owner not in (None, self):
            owner.leave()
        _owners[self.env] = ref(self)
        if self.active != number:
            self.leave()
            self.env.restore(self.states[number])
            self.active = number
            self.note()
        self._check()

    @uninterrupted()
    def leave(self) -> None:
        """Take the active run's state out of the environment; raises as `enter` does."""
        if self.active is not None:
            self._check()
            self.states[self.active] = self.env.snapshot()
            self.active = None

    def state_of(self, number: int) -> Checkpoint:
        """Return a run's state; raises as `enter` does."""
        if number != self.active:
            return self.states[number]
        self._check()
        return self.env.snapshot()

    def put(self, number: int, state: Checkpoint) -> None:
        """Give a run another state."""
        self.states[number] = state
        if self.active == number:
            self.active = None

    def note(self) -> None:
        """Remember the environment's state, after each of its changes by a run."""
        self._mark = self._marked()

    def _check(self) -> None:
        require(
            self._mark == self._marked(),
            "the environment was used outside of its population: make another CNNEnv for that",
        )

    def _marked(self) -> tuple[int, bytes]:
        return self.env.iteration, self._small.numpy().tobytes()


# Whose runs are in an environment: a second population lets the first one leave. The references are
# weak, so that neither outlives its use.
_owners: WeakKeyDictionary[TrainingEnvironment, ReferenceType[SharedEnvironment]] = (
    WeakKeyDictionary()
)
