"""TensorFlow's start: it prints nothing of its own, and its threads suit the shards."""

from contextlib import nullcontext

import pytest
import tensorflow as tf

from tests.support.processes import FROM_ANYWHERE, run_python
from wrn3d.system import tensorflow_setup
from wrn3d.system.errors import UsageError

# As in a notebook: `sys.ps1` exists, and TensorFlow comes first. Its gradients of strided 3D
# convolutions log an error, a graph optimisation that was left out.
NOTEBOOK = """
import os, sys
sys.ps1 = ">>> "
import tensorflow
os.write(2, b"imported\\n")
import numpy as np
import cifar_wide_resnet_tl, wrn3d
images, labels = np.zeros((16, 8, 8, 8, 1), np.uint8), np.arange(16) % 2
data = wrn3d.Dataset.from_arrays(images, labels, images + 1, labels)
env = cifar_wide_resnet_tl.CNNEnv(data=data, depth=10, widen_factor=1, batch_size=8)
env.step()
env.keras_model.predict(env.x_test, verbose=0)
"""


@pytest.mark.slow
def test_a_notebook_that_imports_tensorflow_first_is_as_silent_as_a_script():
    level = "TF_CPP_MIN_LOG_LEVEL"  # the tests' own import of the package has set it
    variables = {name: value for name, value in FROM_ANYWHERE.items() if name != level}
    process = run_python("-c", NOTEBOOK, env=variables)
    assert process.returncode == 0, process.stderr
    assert process.stdout + process.stderr.partition("imported\n")[2] == ""


@pytest.mark.parametrize("threads, refused", [("", True), ("2", True), ("1", False)])
def test_one_shard_follows_several_where_ops_have_one_thread_anyway(monkeypatch, threads, refused):
    monkeypatch.setattr(
        tf.config.threading, "set_intra_op_parallelism_threads", lambda number: None
    )
    monkeypatch.setattr(tensorflow_setup, "_one_thread_per_op", False)
    monkeypatch.setattr(tensorflow_setup, "usable_cores", lambda: 2)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
    tensorflow_setup.set_threads(2)
    with pytest.raises(UsageError, match="has computed in shards") if refused else nullcontext():
        tensorflow_setup.set_threads(1)
