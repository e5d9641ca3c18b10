"""The environment."""

from math import isfinite, isnan, nan
from numbers import Real
from typing import NamedTuple

import gymnasium
import numpy as np

from wrn3d.data.load import load_dataset
from wrn3d.distributed.workers import find_rank
from wrn3d.network.parameters import network_parameters, part_of
from wrn3d.rl.actions import Control
from wrn3d.rl.observations import Observer
from wrn3d.system.checks import check_choice, check_count, check_number, require
from wrn3d.system.errors import quoted
from wrn3d.training.checkpoint import Checkpoint
from wrn3d.training.evaluation import EvalResult
from wrn3d.training.front_ends import environment_class
from wrn3d.training.recipes import configuration

ITERATIONS = 200  # of an episode, where the settings do not say
HELD_OUT = 100  # training images, where there is no validation split


class Moment(NamedTuple):
    """An episode at one moment; `restore` goes back to it."""

    network: int
    rows: np.ndarray | None
    checkpoint: Checkpoint
    settings: dict[str, float]
    validation: EvalResult
    history: tuple
    over: bool
    observation: np.ndarray


class TrainingEpisode(gymnasium.Env):
    """A training run, of which an iteration is a step; `settings` are CNNEnv's.

    `control` and `adjust` say what an action is (see `Control`), and the observation is what
    `Observer` says. The reward is what the validation split, held-out training images, has gained
    since it was measured last, "loss" its drop, "accuracy" its rise, or any function of the two
    EvalResults; it is measured after every `reward_every` iterations and after the last, which
    costs an evaluation, and is 0 in between. A loss that is no number ends the episode with minus
    `penalty`. Losses above `penalty` count as that, so that nothing is worse in the end.

    `reset(seed=...)` draws the run's seed, and by it initial weights, order, crops and dropout; if
    asked, also one of `networks`, pairs (depth, widen factor), and a `subset` of so many training
    images. The same seed and actions are the same episode, to the last bit.

    `training` is the CNNEnv. Raises UsageError for settings and actions that cannot be.
    """

    metadata = {"render_modes": []}  # noqa: RUF012, as Gymnasium has it

    def __init__(
        self,
        front_end="tensorlayer",
        *,
        control="continuous",
        adjust=("learning_rate",),
        reward="loss",
        reward_every=50,
        penalty=10.0,
        networks=None,
        subset=None,
        **settings,
    ):
        self._front_end = environment_class(front_end)
        if not callable(reward):
            check_choice("reward", reward, ("loss", "accuracy"))
            reward = self._drop_of_loss if reward == "loss" else self._rise_of_accuracy
        self.reward = reward
        self.reward_every = check_count("reward_every", reward_every)
        self.penalty = check_number("penalty", penalty)
        self.control = Control(control, adjust)
        require("seed" not in settings, "seed is drawn by reset(seed=...): leave it out here")
        if not settings.keys() & {"iterations", "epochs", "recipe"}:
            settings["iterations"] = ITERATIONS
        require(
            find_rank().world_size == 1,
            "an episode is for one worker: start this without TF_CONFIG and SLURM_PROCID",
        )
        config = configuration(None, settings)
        self._data = load_dataset(config.dataset, config.data_dir, config.volume_size)
        if not config.validation and not len(self._data.validation_labels):
            settings["validation"] = HELD_OUT
        self._settings = [settings | network for network in _networks(networks)]
        specs = [configuration(None, one).network_spec(self._data) for one in self._settings]
        self._made = {}  # by the network's place in the list
        self._start = self.control.start(config)
        kept = self._data.with_validation(settings.get("validation", config.validation))
        self._num_examples = len(kept.train_labels)
        self.subset = (
            subset
            if subset is None
            else check_count("subset", subset, config.batch_size, self._num_examples)
        )
        parts = dict.fromkeys(part_of(parameter.name) for parameter in network_parameters(specs[0]))
        self.observer = Observer(
            len(self._data.class_names),
            parts,
            dict.fromkeys(("learning_rate", *self.control.names)),
        )
        self.action_space, self.observation_space = self.control.space, self.observer.space
        self.over = True  # until it is reset

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        network = int(self.np_random.integers(len(self._settings)))
        run_seed = int(self.np_random.integers(2**31))
        rows = self.subset and np.sort(
            self.np_random.choice(self._num_examples, self.subset, replace=False)
        )
        self._go_on_with(network, rows)
        self.training.reset(seed=run_seed)
        self.settings = {"learning_rate": self.training.learning_rate} | self._start
        self.validation = self.training.evaluate("validation")
        self.observer.forget()
        self.over = False
        self.observation = self._observe()
        return self.observation, self._info()

    def step(self, action):
        require(not self.over, "there is no episode to go on with: call reset()")
        chosen = self.control.apply(action, self.settings)
        result = self.training.step(**chosen)
        self.settings = {"learning_rate": result.learning_rate} | chosen
        self.observer.note(result)
        ends = result.iteration >= self.training.total
        reward = self._reward(result, ends)
        diverged = isnan(reward)
        if diverged:
            reward = -self.penalty
        self.over = ends or diverged
        self.observation = self._observe()
        return (
            self.observation,
            reward,
            self.over,
            False,
            self._info() | {"loss": result.loss, "accuracy": result.accuracy, "diverged": diverged},
        )

    def snapshot(self) -> Moment:
        """The episode as it is now, to go back to by `restore` any number of times."""
        return Moment(
            self._network,
            self._rows,
            self.training.snapshot(),
            self.settings,
            self.validation,
            self.observer.history,
            self.over,
            self.observation,
        )

    def restore(self, moment: Moment):
        """Go back; returns the observation and info of then. The generator of later episodes'
        seeds stays where it is."""
        self._go_on_with(moment.network, moment.rows)
        self.training.restore(moment.checkpoint)
        self.settings, self.validation, self.over = (
            moment.settings,
            moment.validation,
            moment.over,
        )
        self.observer.history, self.observation = moment.history, moment.observation
        return self.observation, self._info()

    def _reward(self, result, ends) -> float:
        """Not a number after divergence."""
        if not isfinite(result.loss):
            return nan
        if not ends and result.iteration % self.reward_every:
            return 0.0
        before, self.validation = self.validation, self.training.evaluate("validation")
        if not isfinite(self.validation.loss):
            return nan
        reward = self.reward(before, self.validation)
        require(
            isinstance(reward, Real) and isfinite(reward),
            f"reward gave {quoted(reward)}, but must give a number",
        )
        return float(reward)

    def _drop_of_loss(self, before, after):
        return min(before.loss, self.penalty) - min(after.loss, self.penalty)

    def _rise_of_accuracy(self, before, after):
        return after.accuracy - before.accuracy

    def _go_on_with(self, network, rows):
        """Let `training` be the CNNEnv of a network, on these rows of its training images or all.

        Its graphs serve all episodes. It is made when it is first needed, so that what `make_vec`
        forks has not started TensorFlow.
        """
        if network not in self._made:
            loaded = type("CNNEnv", (self._front_end,), {"load_data": lambda _: self._data})
            self._made[network] = loaded(**self._settings[network])
        self._network, self._rows, self.training = network, rows, self._made[network]
        self.training.use_only(rows)

    def _observe(self):
        training = self.training
        return self.observer.observe(
            training.iteration / training.total, self.validation, training.norms(), self.settings
        )

    def _info(self):
        return {
            "iteration": self.training.iteration,
            "validation_loss": self.validation.loss,
            "validation_accuracy": self.validation.accuracy,
        } | self.settings


def _networks(pairs):
    """Settings for each (depth, widen factor); one without any where there are none."""
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
