"""The loss as Keras's metric."""

import numpy as np

from wrn3d.training.losses import BatchLoss


def test_validation_leaves_the_last_batchs_loss():
    """Keras's `fit` notes the results of training only after validation."""
    metric = BatchLoss()
    metric.update_state(np.array([0]), np.array([[0.0, 0.0]], np.float32))
    noted = metric.result()
    metric.update_state(np.array([0]), np.array([[0.0, 9.0]], np.float32))
    assert float(noted) == np.float32(np.log(2)) < float(metric.result())
