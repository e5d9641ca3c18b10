"""The two front ends: what each implements, and the scripts that do.

Only this module of the package imports the scripts.
"""

import importlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from wrn3d.network.variables import freeze
from wrn3d.system.checks import check_choice
from wrn3d.system.tensorflow_setup import check_no_strategy
from wrn3d.training.config import TrainingConfig

SCRIPTS = {"TensorLayer": "cifar_wide_resnet_tl", "Keras": "cifar_wide_resnet_keras"}  # modules


class FrontEnd(ABC):
    """What a framework adds to a training run."""

    front_end: str  # the framework's name, as users read it
    config: TrainingConfig
    optimizer: Any

    @abstractmethod
    def build(self) -> None:
        """Set `model` and `optimizer` (by `make_optimizer`), and prepare to train them."""

    @abstractmethod
    def train_batch(self, volumes: Any, labels: Any, learning_rate: Any) -> tuple[Any, Any]:
        """Update once on volumes (N, D, H, W, C), labels (N,); return (loss, accuracy) before."""

    @abstractmethod
    def loss_and_gradients(self, volumes: Any, labels: Any) -> tuple[Any, Any, Any]:
        """Return, in training mode, (loss, accuracy, gradients of `model.trainable_weights`).

        With several workers, each returns its part of the loss and gradients, and the accuracy on
        its rows.
        """

    @abstractmethod
    def logits(self, volumes: Any) -> np.ndarray:
        """Return, in evaluation mode, logits (N, num_classes) of volumes (N, D, H, W, C)."""

    @property
    def model(self) -> Any:
        """The framework's own model, with the parts frozen that the configuration names.

        Raises UsageError where it could not be used.
        """
        check_no_strategy()
        return self._model

    @model.setter
    def model(self, model: Any) -> None:
        freeze(model, self.config.freeze)
        self._model = model


def environment_class(front_end: str) -> Any:
    """Return the CNNEnv of the front end "tensorlayer" or "keras", in any case.

    Raises UsageError for another name.
    """
    modules = {title.lower(): module for title, module in SCRIPTS.items()}
    check_choice("front_end", front_end, (*modules, *SCRIPTS))
    return importlib.import_module(modules[front_end.lower()]).CNNEnv
