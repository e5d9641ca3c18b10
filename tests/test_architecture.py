"""The layout's rule: each room imports only from those below it, without cycles.

In wrn3d/, a module beside the folders, and a folder with a `__main__`, is a command. The other
folders are rooms, listed here from the lowest up. The tests read all imports with `ast`, including
those inside functions and under TYPE_CHECKING.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.fork_server import ROOT

OUTSIDE = ("benchmarks", "cards", "examples", "tests")  # may import the package, never the reverse
ROOMS = ("system", "distributed", "data", "network", "training", "population", "runs", "scores")
PACKAGE = ROOT / "wrn3d"
MODULES_BESIDE = 9
LONGEST_MODULE, LONGEST_ENVIRONMENT, LONGEST_FUNCTION = 300, 400, 60


def name_of(path):
    """Return a file's module name, such as "wrn3d.data.load"."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


def imports(sources):
    """Return {module: the project's modules that it imports}."""
    found = {}
    for module, source in sources.items():
        names = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} has a relative import"
                names.add(node.module)
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
        outside = {name for name in names if name.split(".")[0] in OUTSIDE}
        # `import wrn3d`, for its lazy public names, does not count as an import of a room.
        found[module] = {name for name in names & set(sources) if name != "wrn3d"} | outside
    return found


def room(module):
    """Return the room or command of a module, "" for wrn3d itself."""
    return module.split(".")[1] if "." in module else ""


def is_command(module):
    return room(module) not in (*ROOMS, "")


def height(module):
    """Return a module's place among the rooms; commands and wrn3d itself stand above them all."""
    return ROOMS.index(room(module)) if room(module) in ROOMS else len(ROOMS)


def violations(sources):
    """Return a sentence for each import that the layout's rule forbids."""
    broken = []
    for module, targets in imports(sources).items():
        for target in targets:
            inside = room(module) == room(target)
            if not target.startswith("wrn3d."):
                broken.append(f"{module} imports {target}, which is outside the package")
            elif is_command(target) and not inside:
                broken.append(f"{module} imports the command {target}")
            elif module == "wrn3d" and room(target) != "system":
                broken.append(f"wrn3d imports {target}: importing it would not be instant")
            elif not inside and height(target) > height(module):
                broken.append(f"{module} imports {target}, which is above it")
    try:
        list(TopologicalSorter(imports(sources)).static_order())
    except CycleError as error:
        broken.append(f"a circle: {' -> '.join(error.args[1])}")
    return broken


def test_each_room_imports_only_from_those_below_it():
    assert violations(SOURCES) == []


@pytest.mark.parametrize(
    "module, line, said",
    [
        ("wrn3d.data.load", "from wrn3d.training import config", "which is above it"),
        ("wrn3d.system.errors", "import wrn3d.distributed.workers", "which is above it"),
        ("wrn3d.training.feed", "from wrn3d.predict import Classifier", "imports the command"),
        ("wrn3d.plot", "from wrn3d.compare import page", "imports the command"),
        ("wrn3d.network.spec", "def f():\n    from wrn3d.network import models", "a circle"),
        ("wrn3d.runs.loop", "import benchmarks.turns", "outside the package"),
        ("wrn3d", "from wrn3d.training.config import TrainingConfig", "would not be instant"),
    ],
)
def test_a_forbidden_import_is_found(module, line, said):
    broken = violations(SOURCES | {module: f"{SOURCES[module]}\n{line}\n"})
    assert any(said in sentence and module in sentence for sentence in broken), broken


def test_the_listing_needs_no_map():
    beside = [path.name for path in PACKAGE.glob("*.py")]
    assert len(beside) <= MODULES_BESIDE, beside
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    commands = {path.parent.name for path in PACKAGE.glob("*/__main__.py")}
    assert folders - commands - {"rl", "tune"} == set(ROOMS)
    assert all(ast.get_docstring(ast.parse(source)) for source in SOURCES.values())


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_module_is_read_in_one_sitting(module):
    longest = LONGEST_ENVIRONMENT if module.endswith("training.environment") else LONGEST_MODULE
    assert SOURCES[module].count("\n") <= longest
    for node in ast.walk(ast.parse(SOURCES[module])):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_each_folder_of_tests_mirrors_one_of_the_package():
    own = {"support", "fuzz", "examples", "benchmarks", "cards", "data_files"}
    folders = {path.name for path in Path(ROOT, "tests").iterdir() if path.is_dir()} - own
    assert {name for name in folders if not name.startswith("__")} <= {
        path.name for path in PACKAGE.iterdir()
    }
