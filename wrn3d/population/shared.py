"""One environment that several runs use in turns."""

from typing import Any, Protocol

from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.environment import TrainingEnvironment


class Holder(Protocol):
    """A run that waits: `held` is its state, or None while the environment has it."""

    held: Checkpoint | None


class SharedEnvironment:
    """An environment and the run whose state it has, if any.

    `seed` decides what its runs draw at random. `history` lists what happened to them.
    """

    def __init__(self, env: TrainingEnvironment, seed: int) -> None:
        self.env, self.seed = env, seed
        self.active: Holder | None = None
        self.history: list[dict[str, Any]] = []

    def enter(self, run: Holder) -> None:
        """Put a run's state into the environment, after saving that of the one which was there.

        Ctrl-C gets out before or after each of these, so that no state is lost.
        """
        if run is self.active or run.held is None:
            return
        self.leave()
        self.env.restore(run.held)
        self.active, run.held = run, None

    def leave(self) -> None:
        """Let the active run hold its state itself."""
        if self.active:
            self.active.held = self.env.snapshot()
            self.active = None

    def state_of(self, run: Holder) -> Checkpoint:
        """Return a run's state."""
        return self.env.snapshot() if run.held is None else run.held

    def replace(self, run: Holder, state: Checkpoint) -> None:
        """Give a run another state."""
        run.held = state
        if self.active is run:
            self.active = None
