"""Recipes by name and from files, and what overrides them."""

from pathlib import Path

import pytest

from tests.support.environments import SCRIPTS, small_environment
from tests.support.processes import run_script
from tests.support.runs import SMALL
from wrn3d import TrainingConfig
from wrn3d.compare.__main__ import CompareConfig
from wrn3d.data.augmentation import Augmentation
from wrn3d.runs.command import read_flags
from wrn3d.runs.config import RunConfig
from wrn3d.system.errors import UserError
from wrn3d.training.recipes import RECIPES, configuration, find_recipe


def test_the_original_is_the_default():
    assert RECIPES["original"] == TrainingConfig() == configuration(None, {})
    assert read_flags(RunConfig, args=[]) == RunConfig()


def test_the_papers_settings():
    """Zagoruyko and Komodakis 2016, section 3."""
    paper = configuration(None, {"recipe": "paper"})
    assert (paper.depth, paper.widen_factor, paper.shortcut) == (28, 10, "projection")
    assert (paper.batch_size, paper.epochs, paper.learning_rate) == (128, 200, 0.1)
    assert (paper.momentum, paper.nesterov, paper.weight_decay) == (0.9, True, 5e-4)
    assert paper.augmentation == Augmentation(padding=4, flip_axes=("width",))
    assert paper.total_iterations(50_000) == 200 * 390


@pytest.mark.parametrize("config_class", [RunConfig, CompareConfig])
def test_flags_override_a_recipe_wherever_they_stand(config_class):
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
def test_iterations_that_are_given_count_and_not_a_recipes_epochs(given, total):
    flags = [text for name, number in given.items() for text in (f"--{name}", str(number))]
    for config in (
        configuration(None, {"recipe": "paper", **given}),
        read_flags(RunConfig, args=["--recipe", "paper", *flags]),
    ):
        assert config.total_iterations(50_000) == total


def test_a_file_of_ones_own(tmp_path):
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
    "text, said",
    [
        ("depth = 11", "mine.toml: depth is 11, but must be 6n \\+ 4"),
        (
            "depht = 10",
            "mine.toml: there is no setting 'depht', perhaps depth: they are dataset, dat",
        ),
        ("depth = ", "mine.toml is no recipe that can be read"),
        ('depth = "10"', "mine.toml: depth is '10', but must be a whole number"),
        ("flip-axes = ['up']", "mine.toml: flip_axes is 'up', but must be depth, height or width"),
        ("data_dir = 5", "mine.toml: data_dir is 5, but must be a folder's path"),
        ("sizes = 3", "mine.toml: sizes is 3, but must be a list"),
        ("sizes = [24, 32]", "mine.toml: sizes is 24, but must be a fraction above 0, up to 1"),
        ("[depth]\nx = 1", "mine.toml: depth is {'x': 1}, but must be"),
        ("recipe = 'paper'", "mine.toml: a recipe cannot build on another"),
        ("#" * 70_000, "it has more than 65,536 bytes"),
        ("x = " + "[" * 5000, "mine.toml is no recipe that can be read"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path, text, said):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        find_recipe(path)


@pytest.mark.parametrize(
    "name, status, said",
    [
        ("fst", 2, "error: recipe is 'fst', but must be original, paper"),
        ("no.toml", 1, "error: no.toml does not exist or is not a file"),
        (
            "volumes",
            1,
            "error: volumes.npz does not exist or is not a file: dataset has to name an .npz file",
        ),
    ],
)
def test_a_name_that_does_not_suffice_is_a_sentence(name, status, said):
    process = run_script("tensorlayer", "--recipe", name)
    assert (process.returncode, process.stdout) == (status, "")
    assert process.stderr.startswith(said) and process.stderr.count("\n") == 1


def test_both_scripts_take_recipes():
    lines = [
        run_script(
            name,
            "--recipe",
            "paper",
            *SMALL,
            "--iterations",
            "3",
            "--no-evaluate",
            "--mirror",
            "--cutout",
            "8",
        ).stdout.splitlines()
        for name in SCRIPTS
    ]
    assert "cutout 8" in lines[0][2] and lines[0][6] == "unused    mirror (needs --evaluate)"
    assert "3 iterations" in lines[0][2] and "nesterov, weight decay 0.0005, augment" in lines[0][2]
    losses = [[line.split()[3] for line in each if line.startswith("iteration")] for each in lines]
    assert len(losses[0]) == 3 and losses[0] == losses[1]
