"""A script's run in a process of its own, each iteration a question that is put to it."""

import hashlib
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from wrn3d.system.errors import UserError
from wrn3d.system.memory import peak_memory
from wrn3d.system.terminal import show_warnings_as_notes
from wrn3d.training.checkpoint import LEARNED
from wrn3d.training.front_ends import environment_class

OF = " of "  # in the name of an array that is none of the weights
COMPARED_VOLUMES = 200  # test volumes whose logits are compared


@dataclass(frozen=True)
class Step:
    """An iteration's StepResult, and a digest of every one of the arrays after it."""

    result: object
    digests: dict[str, bytes]


class Side:
    """A context that holds the process; its methods are what can be asked of the run in it.

    They raise the UserError that the run raised, or one that says how its process ended.
    """

    def __init__(self, front_end, settings):
        self.front_end, self.first_step_seconds = front_end, None
        # On a GPU each process would take all of the memory.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        context = multiprocessing.get_context("spawn")  # nothing of this process is inherited
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, daemon=True, name=front_end, args=(theirs, front_end, settings)
        )
        self.start = time.perf_counter()
        # Ctrl-C reaches both, but is for the one who asks; what is ignored stays so in the other.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        theirs.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.connection.close()  # which ends it
        self.process.join(timeout=5)
        self.process.kill()
        self.process.join()

    def step(self) -> Step:
        """Train one iteration."""
        step = self._ask("step")
        if self.first_step_seconds is None:
            self.first_step_seconds = time.perf_counter() - self.start
        return step

    def total_iterations(self) -> int:
        return self._ask("total_iterations")

    def title(self) -> str:
        """The network and the data, in words."""
        return self._ask("title")

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights by canonical name, what is beside them with OF in theirs."""
        return self._ask("arrays")

    def logits(self) -> np.ndarray:
        """Of the first test volumes, (N, num_classes)."""
        return self._ask("logits")

    def evaluation(self):
        """EvalResult on the test split."""
        return self._ask("evaluation")

    def peak_memory(self) -> int | None:
        """Bytes that the process held at most so far."""
        return self._ask("peak_memory")

    def _ask(self, question):
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
        return f"exit status {code}; what it printed is above"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (", out of memory?" if name == "SIGKILL" else "")


def serve(connection, front_end, settings):
    """In the new process: make the run, then answer until nobody asks any more."""
    show_warnings_as_notes()
    answers = None
    while True:
        try:
            question = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answers = answers or _answers(environment_class(front_end)(**settings))
            answer = answers[question]()
        except UserError as error:
            answer = error
        try:
            connection.send(answer)
        except OSError:
            return


def _answers(env):
    def arrays():
        state = env.snapshot()
        return state.weights | {
            f"{kind}{OF}{name}": array
            for kind in LEARNED
            for name, array in getattr(state, kind).items()
        }

    def step():
        result = env.step()
        return Step(
            result,
            {
                name: hashlib.blake2b(array.tobytes(), digest_size=8).digest()
                for name, array in arrays().items()
            },
        )

    def title():
        return (
            f"{env.spec.name}, {env.spec.shortcut} shortcut, on {env.dataset.title} from "
            f"{env.dataset.origin}"
        )

    def logits():
        return env.predict(env.dataset.normalise(env.dataset.test_volumes[:COMPARED_VOLUMES]))

    return {
        "step": step,
        "title": title,
        "logits": logits,
        "arrays": arrays,
        "evaluation": env.evaluate,
        "peak_memory": peak_memory,
        "total_iterations": lambda: env.config.total_iterations(env.num_examples),
    }
