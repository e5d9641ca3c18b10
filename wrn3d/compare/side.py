"""One side of a comparison: a script trains in a process of its own and answers questions."""

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

import numpy as np

from wrn3d.system import memory
from wrn3d.system.errors import UserError
from wrn3d.system.signals import StopRequest
from wrn3d.system.terminal import show_warnings_as_notes
from wrn3d.training.checkpoint import LEARNED
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.evaluation import EvalResult
from wrn3d.training.front_ends import environment_class
from wrn3d.training.step import StepResult

OF = " of "  # as in "momentum of conv0": the name of an array that is not a weight
COMPARED_VOLUMES = 200  # test volumes whose logits are compared


@dataclass(frozen=True)
class Step:
    """The StepResult of an iteration and a digest of all arrays after it."""

    result: StepResult
    digest: bytes


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C in this context, and for good in the processes that start in it.

    Windows cannot block signals; there a side that starts may print a traceback after Ctrl-C.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock Ctrl-C
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


class Side:
    """A context that owns the process of a side; `results` has a StepResult for each step."""

    def __init__(self, front_end: str, settings: dict[str, Any]) -> None:
        self.front_end = front_end
        self.results: list[StepResult] = []
        # Without this, each process would take all the memory of a GPU.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        context = multiprocessing.get_context("spawn")  # it inherits nothing from this process
        self.connection, other_end = context.Pipe()
        self.process = context.Process(
            target=serve, daemon=True, name=front_end, args=(other_end, front_end, settings)
        )
        self.start = time.perf_counter()
        # The terminal sends Ctrl-C to all processes, but only this one must act on it. StopRequest
        # keeps a Ctrl-C that arrives while it is blocked.
        with StopRequest() as stop, _interrupts_blocked():
            self.process.start()
        if stop.number:
            signal.raise_signal(stop.number)
        other_end.close()

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()
        self.process.kill()  # it has nothing to save
        self.process.join()

    def step(self) -> Step:
        """Train one iteration and return its Step."""
        step = self.ask("step")
        if not self.results:
            self.first_step_seconds = time.perf_counter() - self.start
        self.results.append(step.result)
        return step

    def ask(self, question: str) -> Any:
        """Call the method of `Answers` with this name in the process, and return its result.

        Raises the method's UserError, or one that says how the process ended.
        """
        try:
            self.connection.send(question)
            answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(timeout=5)
            raise UserError(
                f"the {self.front_end} side ended without an answer "
                f"({_ending(self.process.exitcode)})"
            ) from None
        if isinstance(answer, UserError):
            raise answer
        return answer


def _ending(code):
    if code is None:
        return "it hangs"
    if code >= 0:
        return f"exit status {code}; its output is above"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (", out of memory?" if name == "SIGKILL" else "")


def serve(connection: Any, front_end: str, settings: dict[str, Any]) -> None:
    """Build the run in the new process and answer questions until the connection is closed."""
    show_warnings_as_notes()
    answers = None
    while True:
        try:
            question = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answers = answers or Answers(environment_class(front_end)(**settings))
            answer = getattr(answers, question)()
        except UserError as error:
            answer = error
        try:
            connection.send(answer)
        except OSError:
            return


class Answers:
    """The questions that a side answers about its run, one method each."""

    def __init__(self, env: TrainingEnvironment) -> None:
        self.env = env

    def step(self) -> Step:
        """Train one iteration and return its Step."""
        result, digest = self.env.step(), hashlib.blake2b()
        for _, array in sorted(self.arrays().items(), key=lambda item: item[0]):
            digest.update(array.tobytes())
        return Step(result, digest.digest())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights by canonical name, and the optimizer's arrays and the EMA by names
        such as "momentum of conv0"."""
        state = self.env.snapshot()
        return state.weights | {
            f"{kind}{OF}{name}": array
            for kind in LEARNED
            for name, array in getattr(state, kind).items()
        }

    def logits(self) -> np.ndarray:
        """Return the logits of the first test volumes, (N, num_classes)."""
        dataset = self.env.dataset
        return self.env.predict(dataset.normalise(dataset.test_volumes[:COMPARED_VOLUMES]))

    def evaluation(self) -> EvalResult:
        """Return the scores on the test split."""
        return self.env.evaluate()

    def title_and_length(self) -> tuple[str, int]:
        """Return the network and the data set in words, and the number of iterations to train."""
        spec, dataset = self.env.spec, self.env.dataset
        title = f"{spec.name}, {spec.shortcut} shortcut, on {dataset.title} from {dataset.origin}"
        return title, self.env.total

    def peak_memory(self) -> int | None:
        """Return the peak memory of the process in bytes; None if the system does not report it."""
        return memory.peak_memory()
