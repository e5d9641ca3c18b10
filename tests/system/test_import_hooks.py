"""Modules are imported right after a library, or when they are used."""

import os

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


def test_an_unused_module_is_imported_when_it_is_used(tmp_path):
    (tmp_path / "library").mkdir()
    (tmp_path / "library/__init__.py").write_text("from library import part, unused\nimport gc")
    (tmp_path / "library/part.py").write_text("print('part')")
    (tmp_path / "library/unused.py").write_text("print('unused')\nname = 'used'")
    program = """
import gc
from wrn3d.system.import_hooks import quick_imports
hooks = [*sys.meta_path]
with quick_imports(["library.unused", "no_such_module"], lambda: print("before")):
    import library
    assert not gc.isenabled()
assert gc.isenabled() and hooks == sys.meta_path
print("imported")
from library.unused import name
print(name, library.unused is sys.modules["library.unused"])
gc.freeze()
gc.disable()
frozen = gc.get_freeze_count()
with quick_imports([], print):
    pass
assert not gc.isenabled() and gc.get_freeze_count() == frozen
"""
    process = run_python("-c", SET_UP + program, cwd=tmp_path, env=FROM_ANYWHERE)
    assert (process.stdout.split(), process.stderr) == (
        ["part", "imported", "before", "unused", "used", "True"],
        "",
    )


DELAYED = """
import inspect, threading, time
from wrn3d.system.import_hooks import quick_imports
with quick_imports(["unused"], lambda: None):
    import unused
"""


@pytest.mark.parametrize(
    "body, program, printed",
    [
        ("print('executed')", "inspect.stack(); print(unused.__file__ is None)", "False"),
        ("name = 1", "print('name' in dir(unused), '__getattr__' in dir(unused))", "True False"),
        ("import unused\nprint(hasattr(unused, 'name'))\nname = 1", "unused.name", "False"),
        ("__getattr__ = str.upper", "print(unused.other, unused.another)", "OTHER ANOTHER"),
        (  # a failure is no success the next time
            "import sys\nsys.attempts += 1\n1 // (sys.attempts - 1)\nname = 1",
            "sys.attempts = 0\ntry: unused.name\nexcept ZeroDivisionError: print(unused.name)",
            "1",
        ),
        (  # other threads wait
            "import time\ntime.sleep(0.5)\nname = 1",
            "thread = threading.Thread(target=lambda: unused.name)\n"
            "thread.start(); time.sleep(0.2); print(unused.name)",
            "1",
        ),
    ],
    ids=["stack", "dir", "circle", "own attributes", "failure", "threads"],
)
def test_an_unused_module_is_like_any_other(tmp_path, body, program, printed):
    (tmp_path / "unused.py").write_text(body)
    process = run_python("-c", SET_UP + DELAYED + program, cwd=tmp_path, env=FROM_ANYWHERE)
    assert (process.stdout, process.stderr) == (f"{printed}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["cifar_wide_resnet_tl", "cifar_wide_resnet_keras"])
def test_training_imports_no_library_for_plots_or_science(script):
    program = f"""
import sys, {script}
{script}.CNNEnv(dataset="digits", depth=10, batch_size=16).step()
unused = {{"cv2", "matplotlib", "scipy.stats", "sklearn"}}
print(unused & set(sys.modules))
import keras
keras.visualization.plot_image_gallery, keras.wrappers.SKLearnClassifier
if tl := sys.modules.get("tensorlayer"):
    tl.utils.fit, tl.visualize.draw_weights, tl.app.human_pose_estimation
print({{"matplotlib", "sklearn"}} - set(sys.modules))
"""
    process = run_python("-c", program, env=os.environ | {"MPLBACKEND": "nonsense"})
    assert (process.stdout, process.stderr) == ("set()\nset()\n", "")
