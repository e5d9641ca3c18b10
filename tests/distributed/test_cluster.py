"""Joining a cluster, and waiting for other workers."""

import os

import pytest

from tests.support.processes import run_python
from wrn3d.distributed.cluster import slurm_resolver
from wrn3d.system.errors import UsageError, WorkerError

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


def test_a_process_that_only_waits_is_ended_and_one_that_computes_is_not():
    program = """
import time
from wrn3d.distributed import patience

patience.PATIENCE, start = 0.5, time.monotonic()
with patience.limited_wait(1):
    while time.monotonic() < start + 2.5:
        pass
    print("computed", flush=True)
    time.sleep(60)
"""
    process = run_python("-c", program)
    assert (process.returncode, process.stdout) == (WorkerError.exit_status, "computed\n")
    assert process.stderr.startswith("error: worker 1 has waited for the others for 0.5 seconds")
    assert process.stderr.count("\n") == 1
