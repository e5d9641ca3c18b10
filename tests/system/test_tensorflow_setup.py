"""TensorFlow and TensorLayer print nothing of their own."""

import pytest

from tests.support.processes import FROM_ANYWHERE, run_python

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
data = wrn3d.Dataset.from_arrays(images, labels, images, labels)
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
