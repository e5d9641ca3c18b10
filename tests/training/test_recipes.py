"""Recipes by name and from files, and what overrides them."""

from pathlib import Path

import pytest

from tests.support.environments import SCRIPTS, environment_class, small_environment
from tests.support.processes import run_script
from tests.support.runs import SMALL
from wrn3d import TrainingConfig
from wrn3d.compare.__main__ import CompareConfig
from wrn3d.data.augmentation import Augmentation
from wrn3d.runs.command import read_flags
from wrn3d.runs.config import RunConfig
from wrn3d.system.errors import MissingDataError, UsageError, UserError
from wrn3d.training.recipes import RECIPES, configuration, find_recipe


def test_the_original_is_the_default():
    assert RECIPES["original"] == TrainingConfig() == configuration(None, {})
    assert read_flags(RunConfig, args=[]) == RunConfig()


def test_the_papers_settings():
    """Compare with Zagoruyko and Komodakis 2016, section 3."""
    paper = configuration(None, {"recipe": "paper"})
    assert (paper.depth, paper.widen_factor, paper.shortcut) == (28, 10, "projection")
    assert (paper.batch_size, paper.epochs, paper.learning_rate) == (128, 200, 0.1)
    assert (paper.momentum, paper.nesterov, paper.weight_decay) == (0.9, True, 5e-4)
    assert paper.augmentation == Augmentation(padding=4, flip_axes=("width",))
    assert paper.total_iterations(50_000) == 200 * 390


@pytest.mark.parametrize("config_class", [RunConfig, CompareConfig])
def test_flags_override_a_recipe_in_any_order(config_class):
    args = ["--depth", "16", "--recipe", "paper", "--no-nesterov", "--seed=3"]
    config = read_flags(config_class, args=args)
    assert (config.depth, config.widen_factor, config.nesterov, config.seed) == (16, 10, False, 3)
    assert config == read_flags(config_class, args=["--recipe=paper", *args[4:], *args[:2]])


@pytest.mark.parametrize(
    "given, total",
    [
        ({}, 200 * 390),
        ({"iterations": 10}, 10),
        ({"epochs": 2}, 780),
        ({"iterations": 10, "epochs": 2}, 780),
    ],
)
def test_given_iterations_replace_the_epochs_of_a_recipe(given, total):
    flags = [text for name, number in given.items() for text in (f"--{name}", str(number))]
    for config in (
        configuration(None, {"recipe": "paper", **given}),
        read_flags(RunConfig, args=["--recipe", "paper", *flags]),
    ):
        assert config.total_iterations(50_000) == total


def test_a_file_of_settings(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'depth = 10\nwiden-factor = 1\ndataset = "digits"\nsizes = [0.5, 1]\ndata-dir = "x"\n'
    )
    assert find_recipe(path) == TrainingConfig(
        depth=10, widen_factor=1, dataset="digits", sizes=(0.5, 1.0), data_dir=Path("x")
    )
    assert read_flags(RunConfig, args=["--recipe", str(path), "--depth", "16"]).depth == 16
    env = small_environment("keras", recipe=path, depth=16)
    assert (env.spec.depth, env.config.sizes) == (16, (0.5, 1.0))


@pytest.mark.parametrize(
    "text, message",
    [
        ("depth = 11", "mine.toml: depth is 11, but must be 6n \\+ 4"),
        ('depth = "10"', "mine.toml: depth is '10', but must be a whole number"),
        ("[depth]\nx = 1", "mine.toml: depth is {'x': 1}, but must be"),
        ("flip-axes = ['up']", "mine.toml: flip_axes is 'up', but must be depth, height or width"),
        ("depht = 10", r"mine.toml: 'depht' is not a setting \(did you mean depth\?\): the sett"),
        ("recipe = 'paper'", "mine.toml: a recipe cannot build on another recipe"),
        ("depth = ", "mine.toml cannot be read as a recipe"),
        ("x = " + "[" * 5000, "mine.toml cannot be read as a recipe"),
        ("#" * 70_000, r"mine.toml cannot be read as a recipe \(it has more than 65,536 bytes\)"),
    ],
)
def test_an_unsuitable_file_is_named(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        find_recipe(path)


@pytest.mark.parametrize(
    "name, error, message",
    [
        (
            "fst",
            UsageError,
            "^recipe is 'fst', but must be original, paper, fast, volumes or",
        ),
        ("no.toml", MissingDataError, "^no.toml does not exist or is not a file: name a file of s"),
        (
            "volumes",
            MissingDataError,
            "^volumes.npz does not exist .*: dataset has to name an .n",
        ),
    ],
)
def test_a_missing_recipe_or_its_missing_data_are_refused(name, error, message):
    with pytest.raises(error, match=message):
        environment_class("keras")(recipe=name)


@pytest.mark.slow
def test_both_scripts_take_recipes():
    flags = ["--recipe", "paper", *SMALL, "--iterations", "3", "--no-evaluate", "--mirror"]
    lines = [run_script(name, *flags, "--cutout", "8").stdout.splitlines() for name in SCRIPTS]
    assert "cutout 8" in lines[0][2] and lines[0][6] == "unused    mirror (needs --evaluate)"
    assert "3 iterations" in lines[0][2] and "nesterov, weight decay 0.0005, augment" in lines[0][2]
    losses = [[line.split()[3] for line in each if line.startswith("iteration")] for each in lines]
    assert len(losses[0]) == 3 and losses[0] == losses[1]
