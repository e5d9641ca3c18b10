"""Every command starts in every environment: closed streams, notebooks' variables, `python -OO`."""

import json
import os
import subprocess
import sys
from itertools import chain, combinations, product

import pytest

from tests.support.fork_server import ROOT
from tests.support.processes import run_python, start_python

COMMANDS = {  # {command: arguments that are a mistake}
    ("cifar_wide_resnet_tl.py",): ["--depth", "29"],
    ("cifar_wide_resnet_keras.py",): ["--depth", "29"],
    ("-m", "wrn3d.compare"): ["--seeds", "0"],
    ("-m", "wrn3d.convert"): ["same.pt", "same.pt"],
    ("-m", "wrn3d.evaluate"): ["nothing.safetensors", "--split", "none"],
    ("-m", "wrn3d.predict"): ["nothing.safetensors", "nothing.png", "--top", "0"],
    ("-m", "wrn3d.plot"): [],
    ("-m", "wrn3d.launch"): ["-n", "0", "script.py"],
    ("-m", "benchmarks"): ["--rounds", "0"],
    ("-m", "benchmarks.scaling"): ["--rounds", "0"],
    ("-m", "benchmarks.episodes"): ["--rounds", "0"],
    ("-m", "examples.look_ahead"): ["more"],
    ("-m", "examples.learning_rate_range"): ["more"],
    ("-m", "examples.agent"): ["more"],
    ("-m", "examples.optuna_search"): ["more"],
    ("-m", "examples.population"): ["--data", "mnist"],
    ("-m", "examples.controllers"): ["--data", "mnist"],
}
CLOSED = [*chain.from_iterable(combinations(range(3), count) for count in range(4))]
NOTEBOOK = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
SETTINGS = {  # {name: (options of Python, environment variables, whether files can be written)}
    "plain": ([], {}, True),
    "-OO": (["-OO"], {}, True),
    "notebook": ([], NOTEBOOK, True),
    "unknown backend": ([], {"MPLBACKEND": "nonsense"}, True),
    "legacy Keras": ([], {"TF_USE_LEGACY_KERAS": "1"}, True),
    "no temporary folder": ([], {}, False),
}


SAMPLE = ("-OO", "no temporary folder")  # for `make check`


def without_files(*arguments):
    """Return a command that runs Python where no file can be written: no folder is a temporary."""
    return ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, *map(str, arguments)]


def results(setting, cases):
    """Start each case (command, arguments, closed descriptors); return [(status, output)]."""
    options, variables, writable = SETTINGS[setting]
    request = [
        {"arguments": [*command, *arguments], "closed": closed}
        for command, arguments, closed in cases
    ]
    arguments = [*options, "-m", "tests.support.starts", json.dumps(request)]
    command = [sys.executable, *arguments] if writable else without_files(*arguments)
    process = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (0, "")
    return json.loads(process.stdout)


def check(setting, cases):
    for (command, arguments, closed), (status, output) in zip(
        cases, results(setting, cases), strict=True
    ):
        case = (setting, command, arguments, closed, output)
        assert status == (0 if arguments == ["--help"] else 2), case
        assert "Traceback" not in output, case
        assert output or {1, 2} & {*closed}, case


ENDINGS = [
    (command, arguments)
    for command, mistake in COMMANDS.items()
    for arguments in (mistake, ["--help"], ["--no-such-flag"])
]


@pytest.mark.parametrize("setting", ["plain", "-OO"])
def test_commands_end_with_a_status_and_words(setting):
    """Try each command with an ending and closed streams that differ from its neighbours'."""
    check(setting, [(*one, CLOSED[number % 8]) for number, one in enumerate(ENDINGS[::2])])


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(name, marks=getattr(pytest.mark, "slow" if name in SAMPLE else "soak"))
        for name in SETTINGS
    ],
)
def test_every_command_ends_so_in_every_environment(setting):
    check(setting, [(*one, closed) for one, closed in product(ENDINGS, CLOSED)])


TINY = [
    *("--dataset", "digits", "--volume-size", "8", "--depth", "10", "--widen-factor", "1"),
    *("--batch-size", "8", "--iterations", "2", "--evaluate"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting, closed",
    [
        ("plain", (1,)),
        ("-OO", (0, 1, 2)),
        ("notebook", (0, 1, 2)),
        ("unknown backend", (2,)),
        ("legacy Keras", (1, 2)),
    ],
)
@pytest.mark.parametrize("script", ["cifar_wide_resnet_tl.py", "cifar_wide_resnet_keras.py"])
def test_a_run_in_every_environment(tmp_path, script, setting, closed):
    def close():
        for descriptor in closed:
            os.close(descriptor)

    options, variables, _ = SETTINGS[setting]
    process = run_python(
        *(*options, script, *TINY, "--output", tmp_path / "run"),
        env=os.environ | variables,
        preexec_fn=close,
    )
    assert (process.returncode, process.stderr) == (0, "")
    for name in ("curves.png", "confusion.png", "test.json"):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_a_run_needs_a_folder_for_temporary_files():
    script = "cifar_wide_resnet_tl.py"
    process = subprocess.run(without_files(script, *TINY), cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr == (
        "error: no folder for temporary files can be written: set the environment variable TMPDIR "
        "to one that can\n"
    )


@pytest.mark.parametrize("backend", [NOTEBOOK["MPLBACKEND"], "nonsense"])
def test_plot_ignores_the_backend_of_notebooks(tmp_path, backend):
    (tmp_path / "log.csv").write_text(
        "iteration,epoch,learning_rate,loss,accuracy\n1,1,0.1,2.5,0.5\n"
    )
    process = run_python(
        *("-m", "wrn3d.plot", tmp_path, "--output", tmp_path / "curves.png"),
        env=os.environ | {"MPLBACKEND": backend},
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert (tmp_path / "curves.png").exists()


def test_help_into_a_closed_pipe_is_quiet():
    for command in list(COMMANDS)[::5]:
        process = start_python(*command, "--help")
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() in (0, 141)


def test_missing_packages_are_named_with_what_to_install():
    """Forbid their import, as if they were not installed."""
    program = """
import runpy, sys
for name in ("gymnasium", "optuna", "ray"):
    sys.modules[name] = None
import wrn3d
sys.argv[1:] = []
for module in ("examples.agent", "examples.optuna_search", "benchmarks.episodes"):
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        print(ended.code)
for module in ("wrn3d.rl", "wrn3d.tune"):
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        print(error)
"""
    process = run_python("-c", program)
    assert process.stderr.splitlines() == [
        'error: gymnasium not installed: pip install ".[agent]"',
        'error: Optuna is not installed: pip install ".[tune]"',
        "error: gymnasium is not installed: pip install -r requirements-rl.txt",
    ]
    assert process.stdout.splitlines() == [
        *"222",
        'wrn3d.rl needs Gymnasium, which is not installed: pip install "wrn3d[rl]"',
        'wrn3d.tune needs Ray Tune, which is not installed: pip install "wrn3d[tune]"',
    ]
