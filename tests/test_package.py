"""The package: dependencies, version, and what pip installs from it."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import venv

import pytest
from packaging.requirements import Requirement

import wrn3d
from tests.support.fork_server import ROOT
from tests.support.processes import run_python

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINNED = {
    "requirements.txt": PROJECT["project"]["dependencies"],
    **{
        f"requirements-{extra}.txt": requirements
        for extra, requirements in PROJECT["project"]["optional-dependencies"].items()
    },
}


def pins(file):
    """Return the exact requirements of a file, without those of the files that it includes."""
    lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r")]


def included(file):
    """Return the pins of a file and of those that it includes, {(name, marker): pin}."""
    found = {(pin.name, str(pin.marker)): pin for pin in pins(file)}
    for line in (ROOT / file).read_text().splitlines():
        if line.startswith("-r "):
            found |= included(line.removeprefix("-r ").strip())
    return found


@pytest.mark.parametrize("file", PINNED)
def test_each_pin_lies_in_its_range(file):
    pinned = included(file)
    ranges = [Requirement(text) for text in PINNED[file]]
    for wanted in (one for one in ranges if one.name != "wrn3d"):
        [version] = pinned[wanted.name, str(wanted.marker)].specifier
        assert version.operator == "==" and version.version in wanted.specifier, wanted
    names = {one.name for one in ranges}
    assert {pin.name for pin in pins(file)} <= names, "pinned, but not declared"


def test_an_extra_that_brings_pytorch_pins_it():
    extras = PROJECT["project"]["optional-dependencies"]
    for extra, requirements in extras.items():
        found = {Requirement(text).name: Requirement(text) for text in requirements}
        if "torch" in found or "stable-baselines3" in found:
            assert str(found["torch"].specifier) == "==2.13.0", extra
    assert [Requirement(text).name for text in extras["rl"]] == ["gymnasium"]


def test_every_folder_of_the_package_is_listed():
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "wrn3d").rglob("__init__.py")
    }
    # The weights are data; in the repository they stand beside the package.
    assert folders | {"wrn3d.weights"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_the_public_names_are_those_of_the_stub():
    stub = ast.parse((ROOT / "wrn3d" / "__init__.pyi").read_text(encoding="utf-8"))
    names = [
        alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert sorted(names) == sorted(wrn3d.__all__)
    assert all(getattr(wrn3d, name).__module__.startswith("wrn3d.") for name in names)
    with pytest.raises(AttributeError, match="no_such_name"):
        wrn3d.no_such_name  # noqa: B018


def test_importing_it_imports_no_framework():
    process = run_python(
        "-c",
        "import sys, wrn3d, cifar_wide_resnet_tl, cifar_wide_resnet_keras\n"
        "print([name for name in ('tensorflow', 'keras', 'tensorlayer', 'gymnasium', 'matplotlib', "
        "'scipy', 'sklearn', 'torch') if name in sys.modules])",
    )
    assert process.stdout.strip() == "[]", process.stderr


def in_environment(folder, *command, cwd):
    """Run a command of a virtual environment's Python, without this project on its path."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        [python, *map(str, command)], cwd=cwd, env=variables, text=True, capture_output=True
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


@pytest.mark.slow
def test_what_pip_installs_trains_from_any_folder(tmp_path):
    copy = tmp_path / "copy"  # setuptools leaves files beside the sources
    copy.mkdir()
    names = ["wrn3d", "weights", *map("{}.py".format, PROJECT["tool"]["setuptools"]["py-modules"])]
    for name in (*names, "pyproject.toml", "README.md", "LICENSE"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, copy / name)
    built = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", tmp_path / "dist", copy],
        text=True,
        capture_output=True,
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    sdist, wheel = sorted((tmp_path / "dist").iterdir(), key=lambda path: path.suffix)
    assert (sdist.name, wheel.suffix) == (f"wrn3d-{wrn3d.__version__}.tar.gz", ".whl")

    environment, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    venv.create(environment, with_pip=True)
    elsewhere.mkdir()
    install = ["-m", "pip", "install", "--quiet", "--constraint", ROOT / "requirements.txt"]
    # Install from the source archive, which must contain everything that the wheel needs.
    in_environment(environment, *install, sdist, cwd=elsewhere)
    program = (
        "from cifar_wide_resnet_tl import CNNEnv\n"
        "env = CNNEnv(dataset='digits', volume_size=8, depth=10, widen_factor=1, batch_size=8)\n"
        "print(env.step().iteration)"
    )
    assert in_environment(environment, "-c", program, cwd=elsewhere).strip() == "1"
    small = ["--dataset", "digits", "--volume-size", "8", "--depth", "10", "--widen-factor", "1"]
    script = [*small, "--batch-size", "8", "--iterations", "2"]
    said = in_environment(environment, "-m", "cifar_wide_resnet_keras", *script, cwd=elsewhere)
    assert "iteration 2/2" in said
    launched = ["-m", "wrn3d.launch", "-n", "2", "cifar_wide_resnet_tl", *script]
    assert "iteration 2/2" in in_environment(environment, *launched, cwd=elsewhere)
    installed = in_environment(
        environment, "-c", "import wrn3d, pathlib; print(*sorted(p.name for p in "
        "pathlib.Path(wrn3d.__file__).parent.iterdir()))", cwd=elsewhere
    ).split()  # fmt: skip
    assert {"py.typed", "__init__.pyi"} <= set(installed)
    records = in_environment(
        environment, "-c", "import wrn3d, pathlib; print(*(p.name for p in "
        "pathlib.Path(wrn3d.__file__).parent.glob('verify/records/*.json')))", cwd=elsewhere
    ).split()  # fmt: skip
    assert set(records) == {path.name for path in ROOT.glob("wrn3d/verify/records/*.json")}
    program_ = "from wrn3d.training import shipped; print(*shipped.names())"
    shipped = in_environment(environment, "-c", program_, cwd=elsewhere).split()
    assert set(shipped) == {path.stem for path in ROOT.glob("weights/*.safetensors")}
    in_environment(environment, *install, "--no-deps", "--force-reinstall", wheel, cwd=elsewhere)
    assert in_environment(environment, "-c", program, cwd=elsewhere).strip() == "1"
