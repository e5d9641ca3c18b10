"""The process and its machine: TensorFlow started quietly, versions, device, terminal."""

import os
import platform
import sys
import tempfile
from importlib.metadata import version

from wrn3d.system.checks import require
from wrn3d.system.machine import cpu_has_bfloat16, cpu_name, usable_cores


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
    require(
        not _started_in or os.getpid() in _started_in,
        "this process was forked from one in "
        "which TensorFlow runs, and would hang: start it by multiprocessing's spawn, in "
        "gymnasium.make_vec with vector_kwargs={'context': 'spawn'}",
    )
    _started_in.add(os.getpid())


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
    return {
        "tensorflow": tf.__version__,
        **{name: version(name) for name in names},
        "python": platform.python_version(),
    }


def device() -> str:
    """The GPUs that TensorFlow sees, or else the CPU."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        names = [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in gpus
        ]
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
