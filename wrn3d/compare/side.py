"""A script's run in a process of its own, each iteration a question that is put to it."""
import hashlib
import importlib
import multiprocessing
import signal
import time
from dataclasses import dataclass

import numpy as np

from wrn3d.errors import UserError
from wrn3d.runtime import peak_memory

SCRIPTS = {"TensorLayer": "cifar_wide_resnet_tl", "Keras": "cifar_wide_resnet_keras"}
COMPARED_VOLUMES = 200  # test volumes whose logits are compared


@dataclass(frozen=True)
class Step:
    """An iteration's StepResult, and a digest of every array of weights after it."""

    result: object
    digests: dict[str, bytes]


class Side:
    """A context that holds the process; its methods are what can be asked of the run in it.

    They raise the UserError that the run raised, or one that says how its process ended.
    """

    def __init__(self, front_end, settings):
        self.front_end = front_end
        context = multiprocessing.get_context("spawn")  # nothing of this process is inherited
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, daemon=True, name=front_end, args=(
            theirs, SCRIPTS[front_end], settings))
        self.start = time.perf_counter()
        self.process.start()
        theirs.close()
        self.first_step_seconds = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.connection.close()  # which ends it
        self.process.join(timeout=5)
        self.process.kill()

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

    def weights(self) -> dict[str, np.ndarray]:
        return self._ask("weights")

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
            raise UserError(f"the {self.front_end} side ended without an answer "
                            f"({_ending(self.process.exitcode)})") from None
        if isinstance(answer, UserError):
            raise answer
        return answer


def _ending(code):
    if code is None or code >= 0:
        return f"exit status {code}; what it printed is above"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (", out of memory?" if name == "SIGKILL" else "")


def serve(connection, script, settings):
    """In the new process: make the run, then answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    try:
        env = importlib.import_module(script).CNNEnv(**settings)
        answers = _answers(env)
    except UserError as error:
        connection.send(error)
        return
    while True:
        try:
            question = connection.recv()
        except (EOFError, OSError):
            return
        answer = answers[question]()
        try:
            connection.send(answer)
        except OSError:
            return


def _answers(env):
    def step():
        result = env.step()
        return Step(result, {name: _digest(array) for name, array in env.get_weights().items()})

    def title():
        return (f"{env.spec.name}, {env.spec.shortcut} shortcut, on {env.dataset.title} from "
                f"{env.dataset.origin}")

    def logits():
        return env.predict(env.dataset.normalise(env.dataset.test_volumes[:COMPARED_VOLUMES]))

    return {"step": step, "title": title, "logits": logits, "weights": env.get_weights,
            "evaluation": env.evaluate, "peak_memory": peak_memory,
            "total_iterations": lambda: env.config.total_iterations(env.num_examples)}


def _digest(array):
    return hashlib.blake2b(array.tobytes(), digest_size=8).digest()
