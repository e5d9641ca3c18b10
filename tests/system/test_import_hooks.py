"""`import_after` imports modules right after a library, and not before."""

import pytest

from tests.support.processes import FROM_ANYWHERE, run_python

SET_UP = """
import importlib.util, sys
from wrn3d.system.import_hooks import import_after
"""


@pytest.mark.parametrize(
    "program, printed",
    [
        ("import library; import_after('library', 'plugin')", "library plugin"),
        ("import_after('library', 'plugin'); import library", "library plugin"),
        ("import_after('library', 'plugin'); import library.part", "library plugin part"),
        ("import_after('library', 'plugin'); import library; import library", "library plugin"),
        ("import_after('library', 'plugin', 'other'); import library", "library plugin other"),
        ("import_after('library', 'plugin'); assert importlib.util.find_spec('library')", ""),
        (
            "import_after('library', 'plugin'); importlib.util.find_spec('library'); "
            "import library; importlib.reload(library)",
            "library plugin library",
        ),
        ("import_after('no_library', 'plugin'); assert not importlib.util.find_spec('x')", ""),
    ],
)
def test_modules_are_imported_once_after_the_library(tmp_path, program, printed):
    (tmp_path / "library").mkdir()
    for name in ("library/__init__", "library/part", "plugin", "other"):
        word = name.replace("/__init__", "").split("/")[-1]
        text = (
            f"import library\nprint('{word}')"
            if word in ("plugin", "other")
            else f"print('{word}')"
        )
        (tmp_path / f"{name}.py").write_text(text)
    if printed:  # the hook has done its work
        program = f"hooks = [*sys.meta_path]; {program}; assert hooks == sys.meta_path"
    process = run_python("-c", SET_UP + program, cwd=tmp_path, env=FROM_ANYWHERE)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.split() == printed.split()


def test_a_library_that_fails_may_be_imported_again(tmp_path):
    (tmp_path / "plugin.py").write_text("print('plugin')")
    (tmp_path / "library.py").write_text("import os\nos.stat('there')")
    program = """
import_after("library", "plugin")
try:
    import library
except FileNotFoundError:
    open("there", "w").close()
import library
"""
    process = run_python("-c", SET_UP + program, cwd=tmp_path, env=FROM_ANYWHERE)
    assert (process.stdout, process.stderr) == ("plugin\n", "")
