"""What makes a run."""

import numpy as np
import pytest

from wrn3d import TrainingConfig, WideResNetSpec


def test_defaults_are_the_original_scripts():
    config = TrainingConfig()
    assert (config.dataset, config.depth, config.widen_factor, config.shortcut) == (
        "cifar10",
        28,
        4,
        "pad",
    )
    assert (config.batch_size, config.learning_rate, config.iterations) == (64, 0.01, 10)
    assert (config.momentum, config.weight_decay, config.dropout) == (0, 0, 0)
    assert not config.augment and not config.evaluate


@pytest.mark.parametrize(
    "settings, start",
    [
        (
            {"dataset": "mnist"},
            "dataset is 'mnist', but must be cifar10, cifar100, digits, the path",
        ),
        ({"depth": 11}, "depth is 11"),
        ({"widen_factor": 0}, "widen_factor is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"shortcut": "none"}, "shortcut is 'none'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"nesterov": True}, "nesterov needs a momentum"),
        ({"dataset": []}, "dataset is []"),
        ({"nesterov": "no"}, "nesterov is 'no', but must be True"),
        ({"learning_rate": 10**400}, "learning_rate is 1000"),
        ({"augment": 1}, "augment is 1"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"validation": -1}, "validation is -1, but must be a whole number from 0 up"),
        ({"optimizer": "muon"}, "muon needs a momentum above 0"),
        (
            {"optimizer": "adam", "momentum": 0.9},
            "adam takes no momentum, nesterov or weight_decay",
        ),
        ({"strides": (1, 2)}, "strides is (1, 2), but must be three numbers"),
        ({"precision": "float16"}, "precision is 'float16', but must be float32 or bfloat16"),
    ],
)
def test_values_that_make_no_run_are_refused_in_one_sentence(settings, start):
    with pytest.raises(ValueError) as caught:
        TrainingConfig(**settings)
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="widenfactor"):
        TrainingConfig(widenfactor=2)


def test_numbers_of_numpy_and_whole_ones_are_numbers():
    config = TrainingConfig(
        batch_size=np.int64(8),
        learning_rate=np.float32(0.5),
        momentum=0,
        weight_decay=0,
        depth=np.int32(10),
    )
    assert config.total_iterations(100) == 10
    assert {type(value) for value in vars(config).values() if value is not None} == {
        str,
        int,
        float,
        bool,
        tuple,
        type(config.data_dir),
    }
    assert WideResNetSpec(10, np.uint8(8)).group_filters == (128, 256, 512)


def test_epochs_drop_the_incomplete_last_batch():
    assert TrainingConfig(iterations=7).total_iterations(1500) == 7
    assert TrainingConfig(epochs=3, batch_size=64).total_iterations(1500) == 3 * 23
