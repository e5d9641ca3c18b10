"""Gymnasium finds the environment, however the two packages are imported."""

from urllib.error import URLError

import gymnasium
import pytest

import wrn3d  # noqa: F401  (registers the environment)
from tests.support.processes import run_python
from wrn3d.data import download
from wrn3d.rl.environment import TrainingEpisode

MAKE = """
import sys
assert "tensorflow" not in sys.modules
env = gymnasium.make("{id}", dataset="digits", depth=10, widen_factor=1, render_mode=None)
print(env.observation_space.shape, "tensorflow" in sys.modules)
"""


@pytest.mark.parametrize(
    "imports, id",
    [
        (
            "import sys, wrn3d; assert 'gymnasium' not in sys.modules; import gymnasium",
            "wrn3d/Training-v0",
        ),
        pytest.param("import gymnasium, wrn3d", "wrn3d/Training-v0", marks=pytest.mark.slow),
        pytest.param("import gymnasium", "wrn3d:wrn3d/Training-v0", marks=pytest.mark.slow),
    ],
    ids=["wrn3d first", "gymnasium first", "gymnasium alone"],
)
def test_gymnasium_makes_the_environment_without_tensorflow(imports, id):
    process = run_python("-c", f"{imports}\n{MAKE.format(id=id)}")
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith(",) False\n")


def test_there_is_nothing_to_render():
    with pytest.raises(ValueError, match="render_mode is 'human', but must be None: there is noth"):
        TrainingEpisode(render_mode="human", dataset="digits")


def test_missing_data_say_what_to_do(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise URLError("no network")

    monkeypatch.setattr(download, "urlopen", refuse)
    with pytest.raises(FileNotFoundError, match='CIFAR-10 is not in .*: put .* dataset="digits"'):
        gymnasium.make("wrn3d/Training-v0", data_dir=tmp_path)
