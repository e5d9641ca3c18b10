"""The process and its machine: TensorFlow started quietly, versions, device, terminal."""
import os
import platform
import sys
import tempfile
import warnings
from contextlib import contextmanager, redirect_stdout
from functools import cache
from importlib.metadata import version
from pathlib import Path

from wrn3d.checks import require
from wrn3d.errors import Stopped


def import_tensorflow():
    """Import TensorFlow without its start-up notices, which none of its settings turns off.

    They go past Python straight to file descriptor 2. What an import that fails has written is
    shown.
    """
    if "tensorflow" in sys.modules:
        return
    with tempfile.TemporaryFile() as notices:
        stderr = os.dup(2)
        os.dup2(notices.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except Exception:
            notices.seek(0)
            os.write(stderr, notices.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


_started_in = set()  # processes


def check_process():
    """Raise UsageError in a process that was forked from one where this was called before:
    TensorFlow's threads are missing in it, and it would hang."""
    require(not _started_in or os.getpid() in _started_in, "this process was forked from one in "
            "which TensorFlow runs, and would hang: start it by multiprocessing's spawn, in "
            "gymnasium.make_vec with vector_kwargs={'context': 'spawn'}")
    _started_in.add(os.getpid())


def show_warnings_as_notes():
    """In this process: "note: ..." alone, without the line of code that warns."""
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"


@contextmanager
def in_silence():
    """A context in which nothing is printed, as by all workers but the first: its end, where it is
    told to stop, is said by that one, too. Errors are not held back."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Stopped as stopped:
            stopped.args = ("",)
            raise


def print_any_name():
    """In this process: a name that the output cannot encode is printed escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def on_terminal() -> bool:
    """Whether somebody watches what is printed; a job may have no standard output at all."""
    return bool(sys.stdout and sys.stdout.isatty())


def be_deterministic(seed):
    """Let no op of this process depend on thread timing.

    TensorFlow then wants a global seed before it draws anything, as `fit` does to shuffle; one
    that the caller has set stays.
    """
    import_tensorflow()
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    unset_global_seed = 87654321  # TensorFlow's stand-in where no global seed is set
    if tf.compat.v1.get_seed(0)[0] == unset_global_seed:
        tf.random.set_seed(seed)


def versions() -> dict[str, str]:
    """{distribution: version} of what computes; the TensorFlow wheel's name differs by platform."""
    import tensorflow as tf

    names = ("tensorlayer", "keras", "numpy")
    return {"tensorflow": tf.__version__, **{name: version(name) for name in names},
            "python": platform.python_version()}


def device() -> str:
    """The GPUs that TensorFlow sees, or else the CPU."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
                 for gpu in gpus]
        return f"{len(gpus)} GPU ({', '.join(names)})"
    return f"CPU ({cpu_name()}, {usable_cores()} cores)"


def has_fast_bfloat16() -> bool:
    """Whether the device is known to have instructions for bfloat16."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return all(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)
    return cpu_has_bfloat16()


def cpu_has_bfloat16() -> bool:
    """Whether the processor is known to have them (AVX512_BF16, AMX, Arm's)."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def usable_cores() -> int:
    """The processor's cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def cpu_name() -> str:
    """What the processor calls itself."""
    return _cpu_entry("model name") or platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    """The processor's instruction sets, under Linux's names; empty where nothing tells."""
    return set((_cpu_entry("flags") or _cpu_entry("Features") or "").split())


@cache
def _cpu_entry(key):
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((line.split(":")[1].strip() for line in lines if line.startswith(key)), None)
