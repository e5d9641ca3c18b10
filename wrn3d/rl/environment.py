"""The Gymnasium environment."""

from collections.abc import Callable, Sequence
from math import isfinite, isnan, nan
from numbers import Real
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt

from wrn3d.distributed.workers import find_rank
from wrn3d.network.parameters import network_parameters, part_of
from wrn3d.rl.actions import Control
from wrn3d.rl.observations import Observer
from wrn3d.system.checks import check_choice, check_count, check_number, require
from wrn3d.system.errors import quoted
from wrn3d.system.interrupts import uninterrupted
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.evaluation import EvalResult
from wrn3d.training.front_ends import environment_class
from wrn3d.training.recipes import configuration
from wrn3d.training.start import DATA_NAMES, load_data
from wrn3d.training.state import NotCopyable
from wrn3d.training.step import StepResult

ITERATIONS = 200  # in an episode, unless the settings say otherwise
HELD_OUT = 100  # training images to set aside, if there is no validation split

Observation = npt.NDArray[np.float32]
Info = dict[str, Any]
Reward = Callable[[EvalResult, EvalResult], float]


class Moment(NamedTuple):
    """An episode's whole state at one moment; `restore` goes back to it."""

    network: int
    checkpoint: Checkpoint
    settings: dict[str, float]
    validation: EvalResult
    history: tuple[tuple[float, float], ...]
    over: bool
    observation: Observation


class TrainingEpisode(NotCopyable, gymnasium.Env[Observation, Any]):
    """A training run as an episode: each step is one iteration.

    Args:
        front_end: "tensorlayer" or "keras".
        control, adjust: kind of the actions, and the settings that they adjust (see `Control`).
        reward: "loss" (how far the validation loss fell), "accuracy" (how far the validation
            accuracy rose), or a function (EvalResult before, EvalResult after) -> float.
        reward_every: iterations from one reward to the next. Each reward costs an evaluation of
            the validation split. In between the reward is 0.
        penalty: a NaN or infinite loss ends the episode with the reward -penalty. "loss" clips
            validation losses at `penalty`, so no reward is lower.
        networks: pairs (depth, widen factor); each episode draws one.
        subset: number of training images that each episode draws.
        render_mode: None, the only one.
        settings: CNNEnv's keywords, except for `seed`.

    `reset(seed=...)` draws the network, the subset, and the run's seed, which decides initial
    weights, order, crops and dropout. The same seed and actions give the same episode, to the last
    bit, in either front end. `Observer` describes the observations. `training` is the CNNEnv.

    Raises UsageError for invalid settings and actions, and what `load_dataset` raises.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (as Gymnasium declares it)
    training: TrainingEnvironment

    def __init__(
        self,
        front_end: str = "tensorlayer",
        *,
        control: str = "continuous",
        adjust: Sequence[str] = ("learning_rate",),
        reward: str | Reward = "loss",
        reward_every: int = 50,
        penalty: float = 10.0,
        networks: Sequence[tuple[int, int]] | None = None,
        subset: int | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        require(
            render_mode is None,
            f"render_mode is {quoted(render_mode)}, but must be None: there is nothing to render",
        )
        self.render_mode = render_mode
        self._front_end = environment_class(front_end)
        self.reward = self._reward_function(reward)
        self.reward_every = check_count("reward_every", reward_every)
        self.penalty = check_number("penalty", penalty)
        self.control = Control(control, adjust)
        require("seed" not in settings, "seed comes from reset(seed=...): leave it out here")
        require(
            find_rank().world_size == 1,
            "an episode has one worker: start its process without TF_CONFIG and SLURM_PROCID",
        )
        if not settings.keys() & {"iterations", "epochs", "recipe"}:
            settings["iterations"] = ITERATIONS
        config = configuration(None, settings)
        self._data = load_data(config)
        if not config.validation and not len(self._data.validation_labels):
            settings["validation"] = HELD_OUT
        self._settings = [settings | network for network in _networks(networks)]
        self._configs = [configuration(None, one) for one in self._settings]
        self._made: dict[int, TrainingEnvironment] = {}  # by index in `networks`
        self._start = self.control.start(config)
        kept = self._data.with_validation(self._configs[0].validation)
        self._num_examples = len(kept.train_labels)
        self.subset = (
            None
            if subset is None
            else check_count("subset", subset, config.batch_size, self._num_examples)
        )
        self.observer = self._observer()
        self.action_space, self.observation_space = self.control.space, self.observer.space
        self.over = True  # until `reset`

    @uninterrupted()
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Start an episode; return its first observation and info.

        options={"run_seed": 3} gives the run this seed, in place of the one that is drawn. Raises
        UsageError for other options.
        """
        options = options or {}
        for name, value in options.items():
            check_count(check_choice("option", name, ("run_seed",)), value, least=0)
        super().reset(seed=seed)
        self.over = True  # until the end: an exception in here leaves no episode half started
        network = int(self.np_random.integers(len(self._settings)))
        run_seed = options.get("run_seed", int(self.np_random.integers(2**31)))
        rows = None
        if self.subset:
            rows = np.sort(self.np_random.choice(self._num_examples, self.subset, replace=False))
        self._use(network)
        self.training.use_only(rows)
        self.training.reset(seed=run_seed)
        self.settings = {"learning_rate": self.training.learning_rate} | self._start
        self.validation = self.training.evaluate("validation")
        self.observer.forget()
        self.over = False
        self.observation = self._observe()
        return self.observation, self._info()

    @uninterrupted()
    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Train one iteration with the settings after `action`.

        Returns (observation, reward, terminated, False, info). Ctrl-C gets out when the step is
        complete; any other exception within it ends the episode. Raises UsageError for an invalid
        action, and after the episode's end.
        """
        require(not self.over, "no episode is running: call reset()")
        chosen: dict[str, Any] = self.control.apply(action, self.settings)
        self.over = True  # until the end: no later step may continue one that was cut short
        result = self.training.step(**chosen)
        self.settings = {"learning_rate": result.learning_rate} | chosen
        self.observer.note(result)
        last = result.iteration >= self.training.total
        reward = self._reward(result, last)
        diverged = isnan(reward)
        if diverged:
            reward = -self.penalty
        self.over = last or diverged
        self.observation = self._observe()
        scores = {"loss": result.loss, "accuracy": result.accuracy, "diverged": diverged}
        return self.observation, reward, self.over, False, self._info() | scores

    def snapshot(self) -> Moment:
        """Return the episode's state; `restore` goes back to it, any number of times."""
        return Moment(
            self._network,
            self.training.snapshot(),
            self.settings,
            self.validation,
            self.observer.history,
            self.over,
            self.observation,
        )

    @uninterrupted()
    def restore(self, moment: Moment) -> tuple[Observation, Info]:
        """Go back to a moment; return its observation and info.

        The random generator that draws later episodes is not restored. Raises UsageError for what
        is not a moment.
        """
        require(isinstance(moment, Moment), "restore takes a Moment from snapshot()")
        self.over = True
        self._use(moment.network)
        self.training.restore(moment.checkpoint)
        self.settings, self.validation = moment.settings, moment.validation
        self.observation, self.observer.history = moment.observation, moment.history
        self.over = moment.over
        return self.observation, self._info()

    def _reward_function(self, reward: str | Reward) -> Reward:
        if callable(reward):
            return reward
        functions: dict[str, Reward] = {
            "loss": lambda before, after: (
                min(before.loss, self.penalty) - min(after.loss, self.penalty)
            ),
            "accuracy": lambda before, after: after.accuracy - before.accuracy,
        }
        return functions[check_choice("reward", reward, functions)]

    def _reward(self, result: StepResult, last: bool) -> float:
        """Return the reward of an iteration, or NaN after divergence."""
        if not isfinite(result.loss):
            return nan
        if not last and result.iteration % self.reward_every:
            return 0.0
        before, self.validation = self.validation, self.training.evaluate("validation")
        if not isfinite(self.validation.loss):
            return nan
        reward = self.reward(before, self.validation)
        require(
            isinstance(reward, Real) and isfinite(reward),
            f"the reward function returned {quoted(reward)}, but must return a finite number",
        )
        return float(reward)

    def _use(self, network: int) -> None:
        """Select the network with this index.

        One CNNEnv serves all episodes of a network, so that its graph is built once. It is made
        when first needed, because TensorFlow must not start before `make_vec` forks.
        """
        if network not in self._made:
            own = {
                name: value
                for name, value in self._settings[network].items()
                if name not in (*DATA_NAMES, "folds", "fold")  # done when they were loaded
            }
            self._made[network] = self._front_end(data=self._data, **own)
        self._network, self.training = network, self._made[network]

    def _observer(self) -> Observer:
        specs = [config.network_spec(self._data) for config in self._configs]
        names = (part_of(parameter.name) for parameter in network_parameters(specs[0]))
        frozen = self._configs[0].freeze  # which have no norms
        parts = dict.fromkeys(name for name in names if name not in frozen)
        settings = dict.fromkeys(("learning_rate", *self.control.names))
        return Observer(len(self._data.class_names), parts, settings)

    def _observe(self) -> Observation:
        training = self.training
        return self.observer.observe(
            training.iteration / training.total, self.validation, training.norms(), self.settings
        )

    def _info(self) -> Info:
        return {
            "iteration": self.training.iteration,
            "validation_loss": self.validation.loss,
            "validation_accuracy": self.validation.accuracy,
        } | self.settings


def _networks(pairs: Any) -> list[dict[str, int]]:
    """Return each pair (depth, widen factor) as settings, or [{}] for None."""
    if pairs is None:
        return [{}]
    require(
        isinstance(pairs, (tuple, list))
        and pairs
        and all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs),
        f"networks is {quoted(pairs)}, but must be pairs of depth and widen factor, such as "
        "((10, 1), (16, 2))",
    )
    return [{"depth": depth, "widen_factor": widen_factor} for depth, widen_factor in pairs]
