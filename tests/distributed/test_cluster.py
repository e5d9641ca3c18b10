"""Joining a cluster."""

import os

import pytest

from wrn3d.distributed.cluster import slurm_resolver
from wrn3d.system.errors import UsageError

UNKNOWN_TASKS = {
    "SLURM_STEP_NODELIST": "c[1-2]n3",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_PROCID": "0",
}


@pytest.mark.parametrize("variables", [{}, UNKNOWN_TASKS])
def test_slurm_variables_without_workers_are_refused(variables, monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="TF_CONFIG"):
        slurm_resolver()
