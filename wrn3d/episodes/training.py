"""The environment."""
import importlib
from math import isfinite

import gymnasium
import numpy as np

from wrn3d.checks import check_choice, check_count, check_number, require
from wrn3d.data import NAMES, load_dataset
from wrn3d.episodes.actions import Control
from wrn3d.episodes.observations import Observer
from wrn3d.parameters import network_parameters, part_of
from wrn3d.recipes import configuration

FRONT_ENDS = {"tensorlayer": "cifar_wide_resnet_tl", "keras": "cifar_wide_resnet_keras"}
REWARDS = {"loss": lambda before, after: before.loss - after.loss,
           "accuracy": lambda before, after: after.accuracy - before.accuracy}
HELD_OUT = 128  # training images, where the data have no validation split


class TrainingEpisode(gymnasium.Env):
    """A run of `iterations` iterations, each one step; `settings` are CNNEnv's.

    `control` and `adjust` say what an action is (see `Control`), and the observation is what
    `Observer` says. The reward is what the validation split, held-out training images, has gained
    since it was measured last, "loss" its drop, "accuracy" its rise, or any function of the two
    EvalResults; it is measured after every `reward_every` iterations and after the last, which
    costs an evaluation, and is 0 in between. A loss that is no number ends the episode with minus
    `penalty`.

    `reset(seed=...)` draws the run's seed, and by it initial weights, order, crops and dropout; if
    asked, also one of `networks`, pairs (depth, widen factor), and a `subset` of so many training
    images. The same seed and actions are the same episode, to the last bit.

    `training` is the CNNEnv. Raises UsageError for settings that cannot be.
    """

    metadata = {"render_modes": []}  # noqa: RUF012, as Gymnasium has it

    def __init__(self, front_end="tensorlayer", *, iterations=100, control="continuous",
                 adjust=("learning_rate",), reward="loss", reward_every=20, penalty=10.0,
                 networks=None, subset=None, **settings):
        check_choice("front_end", front_end, tuple(FRONT_ENDS))
        if not callable(reward):
            check_choice("reward", reward, tuple(REWARDS))
        self.reward = REWARDS.get(reward, reward) if isinstance(reward, str) else reward
        self.penalty = check_number("penalty", penalty)
        self.subset = subset if subset is None else check_count("subset", subset)
        self.reward_every = check_count("reward_every", reward_every)
        self.control = Control(control, adjust)
        if settings.get("dataset", NAMES[0]) in NAMES:
            settings.setdefault("validation", HELD_OUT)
        self._front_end = importlib.import_module(FRONT_ENDS[front_end]).CNNEnv
        self._settings = settings | {"iterations": iterations}
        self._networks = [{"depth": depth, "widen_factor": widen_factor}
                          for depth, widen_factor in networks or ()] or [{}]
        self._made = {}  # by the network's place in the list
        config = configuration(None, self._settings)
        self._start = self.control.start(config)
        self._data = load_dataset(config.dataset, config.data_dir, config.volume_size)
        self._num_examples = len(self._data.with_validation(config.validation).train_labels)
        require(subset is None or config.batch_size <= subset <= self._num_examples,
                f"subset is {subset}, but must be from {config.batch_size}, a batch, to "
                f"{self._num_examples}")
        spec = config.network_spec(self._data)
        self.observer = Observer(len(self._data.class_names),
                                 dict.fromkeys(part_of(parameter.name) for parameter in
                                               network_parameters(spec)),
                                 self.control.names)
        self.action_space, self.observation_space = self.control.space, self.observer.space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.training = self._training(int(self.np_random.integers(len(self._networks))))
        run_seed = int(self.np_random.integers(2**31))
        if self.subset:
            self.training.use_only(np.sort(self.np_random.choice(
                self._num_examples, self.subset, replace=False)))
        self.training.reset(seed=run_seed)
        self.settings = dict(self._start)
        self.validation = self.training.evaluate("validation")
        self.observer.forget()
        return self._observation(), self._info()

    def step(self, action):
        self.settings = self.control.apply(action, self.settings)
        result = self.training.step(**self.settings)
        self.observer.note(result)
        ends = result.iteration == self.training.total
        reward, diverged = 0.0, not isfinite(result.loss)
        if not diverged and (ends or result.iteration % self.reward_every == 0):
            before, self.validation = self.validation, self.training.evaluate("validation")
            diverged = not isfinite(self.validation.loss)
            reward = float(self.reward(before, self.validation))
        if diverged:
            reward = -self.penalty
        return (self._observation(), reward, ends or diverged, False,
                self._info() | {"loss": result.loss, "accuracy": result.accuracy,
                                "diverged": diverged})

    def _training(self, place):
        """The CNNEnv of a network; its graphs serve all episodes. It is made when it is first
        needed, so that what `make_vec` forks has not started TensorFlow, after which it hangs."""
        if place not in self._made:
            loaded = type("CNNEnv", (self._front_end,), {"load_data": lambda _: self._data})
            self._made[place] = loaded(**self._settings | self._networks[place])
        return self._made[place]

    def _observation(self):
        training = self.training
        return self.observer.observe(training.iteration / training.total, self.validation,
                                     training.norms(), self.settings)

    def _info(self):
        return {"iteration": self.training.iteration, "validation_loss": self.validation.loss,
                "validation_accuracy": self.validation.accuracy} | self.settings
