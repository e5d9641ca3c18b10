"""Import TensorFlow quietly, make it deterministic, and ask it for versions and devices."""

import contextlib
import ctypes
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from wrn3d.system import import_hooks
from wrn3d.system.checks import require
from wrn3d.system.machine import cpu_has_bfloat16, cpu_name, usable_cores
from wrn3d.system.plotting import check_temporary_folder, import_matplotlib
from wrn3d.system.terminal import native_messages_to, open_missing_streams
from wrn3d.system.words import counted

SET_LOG_LEVEL = "_ZN4absl12lts_2025081414SetMinLogLevelENS0_18LogSeverityAtLeastE"  # TF 2.21
# Modules that Keras and TensorLayer import for plots, scikit-learn's interface and other networks.
# With them come matplotlib, OpenCV, SciPy and scikit-learn, which take a second.
UNUSED = (
    *("keras.visualization", "keras.src.visualization", "keras.wrappers"),
    *("tensorlayer.app", "tensorlayer.utils", "tensorlayer.visualize", "scipy.io"),
)


def quick_imports() -> contextlib.AbstractContextManager[None]:
    """Return a context that imports TensorFlow, Keras and TensorLayer without UNUSED modules.

    They are executed when they are used, whatever backend the environment names for matplotlib.
    """
    return import_hooks.quick_imports(UNUSED, import_matplotlib)


def import_tensorflow() -> None:
    """Import TensorFlow without its start-up notices, which no setting turns off.

    TensorFlow writes them to file descriptor 2, past Python's `sys.stderr`. They are shown if the
    import fails. Raises UserError without a folder for temporary files, which TensorFlow needs.
    """
    open_missing_streams()
    if "tensorflow" in sys.modules:
        _set_log_level()
        return
    check_temporary_folder()
    with tempfile.TemporaryFile() as notices, native_messages_to(notices) as stderr:
        try:
            with quick_imports():
                import tensorflow  # noqa: F401
        except Exception:
            notices.seek(0)
            os.write(stderr, notices.read())
            raise


def _set_log_level() -> None:
    """Apply TF_CPP_MIN_LOG_LEVEL, which this package may have set after the import of TensorFlow.

    Notebooks often import TensorFlow first. It has no Python function for this.
    """
    import tensorflow as tf

    library = Path(tf.sysconfig.get_lib(), "libtensorflow_framework.so.2")
    # Where the function has another name, the log stays as it is.
    with contextlib.suppress(OSError, AttributeError, ValueError):
        level = int(os.environ["TF_CPP_MIN_LOG_LEVEL"])
        getattr(ctypes.CDLL(str(library)), SET_LOG_LEVEL)(level)


_started_in: set[int] = set()  # id of the process that TensorFlow ran in before a fork


def check_process() -> None:
    """Raise UsageError in a fork of a process that runs TensorFlow.

    A forked process lacks TensorFlow's threads and would hang. This takes a microsecond, so call it
    before each computation.
    """
    require(
        not _started_in or os.getpid() in _started_in,
        "this process was forked from one that runs TensorFlow, and would hang: start it with "
        "multiprocessing's spawn method (gymnasium.make_vec: vector_kwargs={'context': 'spawn'})",
    )


def check_eager() -> None:
    """Raise UsageError as `check_process` does, and where ops would only build a tf.Graph."""
    check_process()
    if "tensorflow" not in sys.modules:
        return
    import tensorflow as tf

    require(
        tf.executing_eagerly() or tf.inside_function(),
        "TensorFlow's eager execution is off here (tf.compat.v1.disable_eager_execution, or inside "
        "a tf.Graph), so nothing would be computed: use wrn3d outside the graph, or in a process "
        "that leaves eager execution on",
    )


def check_no_strategy() -> None:
    """Raise UsageError as `check_eager` does, and inside the scope of a tf.distribute strategy."""
    check_eager()
    if "tensorflow" not in sys.modules:
        return
    import tensorflow as tf

    require(
        not tf.distribute.has_strategy(),
        "a CNNEnv cannot be used inside the scope of a tf.distribute strategy, which would split "
        "its variables: leave strategy.scope() (python -m wrn3d.launch starts several workers)",
    )


def _note_process() -> None:
    """Remember, before a fork, that TensorFlow runs in this process."""
    if not _started_in and (_has_context() or any(_tensorflow_threads())):
        _started_in.add(os.getpid())


def _has_context() -> bool:
    """Return whether TensorFlow computes eagerly here, or did in the process forked from."""
    module = sys.modules.get("tensorflow.python.eager.context")
    context = module and module.context_safe()
    return getattr(context, "_context_handle", None) is not None


def _tensorflow_threads() -> list[bool]:
    """Return for each thread of this process whether it is TensorFlow's; [] where none is known."""
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # the thread has ended
            names.append(path.read_text())
    return [name.startswith("tf_") for name in names]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_note_process)
# If the fork came before the import of this module, TensorFlow's context is left without threads.
if _has_context() and (found := _tensorflow_threads()) and not any(found):
    _started_in.add(0)  # in the process that this one was forked from


_one_thread_per_op = False  # whether `set_threads` has set it


def set_threads(shards: int) -> None:
    """Give each TensorFlow op one thread if a batch has several `shards`, else as many as it takes.

    On one thread an op's result does not depend on the number of cores. The setting holds for the
    whole process and cannot change after the first op.

    Raises UsageError if this process has computed with other threads.
    """
    global _one_thread_per_op
    import tensorflow as tf

    if shards == 1:
        require(
            not _one_thread_per_op or usable_cores() == 1,
            "this process has computed in shards, with one thread for each op, so shards=1 would "
            "give other results than elsewhere: use another process for it",
        )
        return
    given = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    from_environment = int(given) if given.isdecimal() else 0
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        _one_thread_per_op = from_environment != 1  # else shards=1 has one thread everywhere
        return
    except RuntimeError:  # TensorFlow has computed already
        threads = tf.config.threading.get_intra_op_parallelism_threads()
    threads = threads or from_environment or usable_cores()
    require(
        threads == 1,
        f"TensorFlow has computed with {threads} threads for each op in this process, but "
        f"shards={shards} needs one: make this CNNEnv first in a process of its own, or set "
        "shards=1",
    )


def be_deterministic(seed: int) -> None:
    """Make every op's result independent of the threads' timing.

    TensorFlow then refuses random ops without a global seed, and `fit` needs them to shuffle. So
    `seed` becomes the global seed unless the caller has set one.

    Raises UsageError as `check_eager` does.
    """
    import_tensorflow()
    check_eager()
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    unset_global_seed = 87654321  # TensorFlow's stand-in for an unset seed
    if tf.compat.v1.get_seed(0)[0] == unset_global_seed:
        tf.random.set_seed(seed)


def versions() -> dict[str, str]:
    """Return {name: version} of the numerical libraries and Python."""
    import tensorflow as tf

    names = ("tensorlayer", "keras", "numpy")
    return {
        "tensorflow": tf.__version__,  # its distribution's name depends on the platform
        **{name: version(name) for name in names},
        "python": platform.python_version(),
    }


def device() -> str:
    """Return the names of the GPUs that TensorFlow sees, or else the CPU's."""
    if gpus := _gpu_details():
        names = [details.get("device_name", gpu) for gpu, details in gpus.items()]
        return f"{len(gpus)} GPU ({', '.join(names)})"
    return f"CPU ({cpu_name()}, {counted(usable_cores(), 'core')})"


def has_fast_bfloat16() -> bool:
    """Return whether the GPUs, or else the CPU, are known to have instructions for bfloat16."""
    if gpus := _gpu_details():
        return all(details.get("compute_capability", (0, 0)) >= (8, 0) for details in gpus.values())
    return cpu_has_bfloat16()


def _gpu_details() -> dict[str, dict]:
    import tensorflow as tf

    return {
        gpu.name: tf.config.experimental.get_device_details(gpu)
        for gpu in tf.config.list_physical_devices("GPU")
    }
