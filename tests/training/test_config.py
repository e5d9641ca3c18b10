"""The settings of a run: defaults, checks, what follows from them."""

from pathlib import Path

import numpy as np
import pytest

from wrn3d import TrainingConfig, WideResNetSpec


def test_the_defaults_are_the_original_scripts():
    config = TrainingConfig()
    assert (config.dataset, config.depth, config.widen_factor) == ("cifar10", 28, 4)
    assert (config.shortcut, config.augment, config.evaluate) == ("pad", False, False)
    assert (config.batch_size, config.learning_rate, config.iterations) == (64, 0.01, 10)
    assert (config.momentum, config.weight_decay, config.dropout) == (0, 0, 0)


@pytest.mark.parametrize(
    "settings, start",
    [
        (
            {"dataset": "mnist"},
            "dataset is 'mnist', but must be cifar10, cifar100, digits, the path",
        ),
        ({"dataset": []}, "dataset is []"),
        *[
            (
                {"data_dir": value},
                f"data_dir is {value!r}, but must be the path of a file or folder",
            )
            for value in (5, "", None)
        ],
        (
            {"data_dir": "s3://bucket/data"},
            "data_dir is 's3://bucket/data', but must be a path, no",
        ),
        ({"data_dir": Path("gs://bucket")}, "data_dir is 'gs:/bucket', but must be a path, not a"),
        ({"volume_size": 0}, "volume_size is 0"),
        ({"validation": -1}, "validation is -1, but must be a whole number from 0 up"),
        ({"best_by": ""}, "best_by has '', but must have texts"),
        (
            {"window": ("3", "1")},
            "window is ('3', '1'), but must be two numbers, the lower one",
        ),
        (
            {"freeze": ("head",)},
            "freeze is 'head', but must be conv0, group0, group1, ",
        ),
        ({"depth": 11}, "depth is 11, but must be 6n + 4"),
        ({"widen_factor": 0}, "widen_factor is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"shortcut": "none"}, "shortcut is 'none'"),
        ({"strides": (1, 2)}, "strides is (1, 2), but must be three numbers"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"optimizer": "rmsprop"}, "optimizer is 'rmsprop', but must be sgd, muon or adam"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"learning_rate": 10**400}, "learning_rate is 1000"),
        ({"schedule": "exponential"}, "schedule is 'exponential', but must be"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"milestones": (0.3, 1.0)}, "milestones is 1.0"),
        ({"milestone_factor": -1}, "milestone_factor is -1"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"nesterov": "no"}, "nesterov is 'no', but must be True"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"label_smoothing": 1}, "label_smoothing is 1"),
        ({"class_weights": 1}, "class_weights is 1, but must be True"),
        ({"averaging": 1.0}, "averaging is 1.0"),
        ({"precision": "float16"}, "precision is 'float16', but must be float32 or bfloat16"),
        ({"augment": 1}, "augment is 1"),
        ({"crop_padding": -1}, "crop_padding is -1"),
        ({"flip_axes": ("up",)}, "flip_axes is 'up', but must be depth, height or width"),
        ({"alternate_flips": 1}, "alternate_flips is 1"),
        ({"cutout": -1}, "cutout is -1"),
        ({"batch_norm": "none"}, "batch_norm is 'none', but must be synchronised or local"),
        ({"sizes": 3}, "sizes is 3, but must be a list"),
        ({"sizes": (24, 32)}, "sizes is 24, but must be a fraction above 0, up to 1"),
        ({"seed": -1}, "seed is -1"),
        ({"evaluate": 1}, "evaluate is 1"),
        ({"mirror": 1}, "mirror is 1"),
        ({"nesterov": True}, "nesterov needs a momentum above 0, such as 0.9"),
        ({"optimizer": "muon"}, "muon needs a momentum above 0, such as 0.9"),
        ({"portable": True, "precision": "bfloat16"}, "portable needs the precision float32"),
        ({"portable": True}, "portable needs shards of 2 or more"),
        ({"optimizer": "adam", "momentum": 0.9}, "adam does not use momentum or weight_decay"),
        ({"optimizer": "adam", "weight_decay": 1e-4}, "adam does not use momentum or weight_decay"),
    ],
)
def test_invalid_values_are_refused_in_one_sentence(settings, start):
    with pytest.raises(ValueError) as caught:
        TrainingConfig(**settings)
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="widenfactor"):
        TrainingConfig(widenfactor=2)


def test_numpys_numbers_and_whole_ones_become_pythons():
    config = TrainingConfig(
        batch_size=np.int64(8),
        learning_rate=np.float32(0.5),
        momentum=0,
        weight_decay=0,
        depth=np.int32(10),
        milestones=[0, 0.5],
        nesterov=np.False_,
    )
    types = {type(value) for value in vars(config).values() if value is not None}
    assert types == {str, int, float, bool, tuple, type(Path())}
    assert (config.nesterov, config.milestones) == (False, (0.0, 0.5))
    assert WideResNetSpec(10, np.uint8(8)).group_filters == (128, 256, 512)


def test_sizes_that_round_to_the_same_shape_give_it_once():
    config = TrainingConfig(sizes=(0.5, 0.55, 0.95, 1.0))
    assert config.volume_shapes((1, 8, 8, 3)) == [(1, 8, 8, 3), (1, 4, 4, 3)]


def test_epochs_replace_iterations_and_drop_the_incomplete_last_batch():
    assert TrainingConfig(iterations=7).total_iterations(1500) == 7
    assert TrainingConfig(iterations=7, epochs=3, batch_size=64).total_iterations(1500) == 3 * 23
