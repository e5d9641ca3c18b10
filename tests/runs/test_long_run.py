"""The memory, open files and threads of a long run do not grow.

`make soak` trains for an hour; --minutes decides.
"""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.environments import SCRIPTS
from tests.support.processes import start_script
from tests.support.runs import FULL, wait_until

SAMPLES = 40


def sample(process):
    """Return (resident MiB, open files, threads) of a process."""
    folder = Path(f"/proc/{process.pid}")
    lines = (folder / "status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    return (
        int(status["VmRSS"].split()[0]) / 1024,
        len(os.listdir(folder / "fd")),
        int(status["Threads"]),
    )


@pytest.mark.soak
@pytest.mark.parametrize("front_end", SCRIPTS)
def test_a_long_run_does_not_grow(tmp_path, request, capsys, front_end):
    seconds = 60 * request.config.getoption("--minutes")
    log = tmp_path / "run" / "log.csv"
    with (tmp_path / "output").open("w") as output:
        flags = [*FULL, "--iterations", 10_000_000, "--save-every", "50", "--output", log.parent]
        process = start_script(front_end, *flags, stdout=output)
    try:
        # Once curves are drawn, all libraries are loaded.
        assert wait_until(log.with_name("curves.png").exists, process)
        samples = []
        for _ in range(SAMPLES):
            time.sleep(seconds / SAMPLES)
            samples.append(sample(process))
        iterations = log.read_text().count("\n") - 1
    finally:
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert "saved in" in said
    earlier, later = (np.max(half, axis=0).tolist() for half in np.split(np.array(samples), 2))
    with capsys.disabled():
        print(f"\n{front_end}: {iterations:,} iterations; MiB, files, threads: {earlier}, {later}")
    assert later[0] < 1.02 * earlier[0] + 2
    assert later[1] <= earlier[1] + 3  # a save may be under way
    assert later[2] <= earlier[2] + 2
