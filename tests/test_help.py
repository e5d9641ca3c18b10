"""Each command prints its help without importing what takes seconds."""

from tests.support.processes import run_python

COMMANDS = (
    *("compare", "convert", "crossvalidate", "evaluate", "launch", "plot", "predict", "verify"),
)
HEAVY = ("tensorflow", "keras", "torch", "matplotlib", "scipy", "gymnasium", "pandas")
PROGRAM = f"""
import contextlib, runpy, sys
sys.argv[1:] = ["--help"]
for name in {COMMANDS}:
    print(f"usage of {{name}}")
    with contextlib.suppress(SystemExit):
        runpy.run_module(f"wrn3d.{{name}}", run_name="__main__", alter_sys=True)
print([name for name in {HEAVY} if name in sys.modules])
"""


def test_help_imports_no_large_library():
    process = run_python("-c", PROGRAM)
    assert process.stderr == ""
    *help_texts, imported = process.stdout.splitlines()
    assert imported == "[]"
    assert sum(line.startswith("usage: ") for line in help_texts) == len(COMMANDS)
    assert all(line.count("python -m ") < 2 for line in help_texts)  # examples, one a line
