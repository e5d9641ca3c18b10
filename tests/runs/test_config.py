"""The settings of a run that keeps a folder."""

from pathlib import Path

import pytest

from wrn3d import TrainingConfig
from wrn3d.runs.config import OVERRIDABLE, RunConfig

NAMES = """dataset class_names volume_size window validation folds fold best_by depth
    widen_factor dropout shortcut strides init freeze batch_size shards portable optimizer
    learning_rate schedule warmup milestones milestone_factor momentum nesterov weight_decay
    label_smoothing class_weights averaging precision augment crop_padding flip_axes
    alternate_flips cutout batch_norm sizes seed save_every patience on_nan"""
RESULT = NAMES.split()


@pytest.mark.parametrize(
    "settings, length",
    [
        ({}, []),
        ({"iterations": 7, "epochs": 2}, []),
        ({"schedule": "linear"}, ["iterations", "epochs"]),
        ({"warmup": 0.1}, ["iterations", "epochs"]),
        ({"sizes": (0.5, 1)}, ["iterations", "epochs"]),
    ],
)
def test_the_settings_that_decide_the_result(settings, length):
    assert list(RunConfig(**settings).result_fields) == RESULT + length


def test_all_of_them_can_be_overridden_but_the_network_and_the_optimizer():
    fixed = {"depth", "widen_factor", "shortcut", "strides", "optimizer", "freeze"}
    others = [name for name in RESULT if name not in fixed]
    assert list(OVERRIDABLE) == ["data", "loss", "metrics", "iterations", "epochs", *others]


def test_a_run_adds_to_the_settings_of_the_environment():
    config = RunConfig(output=Path("x"), resume=True, override=("batch-size",), batch_size=8)
    assert config.override == ("batch_size",)
    assert TrainingConfig(**config.settings) == TrainingConfig(batch_size=8)


@pytest.mark.parametrize(
    "settings, start",
    [
        ({"save_every": 0}, "save_every is 0"),
        ({"on_nan": "go on"}, "on_nan is 'go on', but must be stop or restore"),
        *[
            (settings, "resume, override and on_nan need the folder of the run: name it with --out")
            for settings in ({"resume": True}, {"override": ("seed",)}, {"on_nan": "restore"})
        ],
        ({"output": Path("x"), "override": ("depth",)}, "override has 'depth', but can have data,"),
    ],
)
def test_invalid_values_are_refused(settings, start):
    with pytest.raises(ValueError) as caught:
        RunConfig(**settings)
    assert str(caught.value).startswith(start)
