"""The estimate of a training's memory, and the batch sizes that it refuses."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.environments import SCRIPTS
from tests.support.processes import run_python, run_script
from wrn3d import WideResNetSpec
from wrn3d.system.errors import NotEnoughMemoryError
from wrn3d.training import memory_estimate
from wrn3d.training.config import TrainingConfig
from wrn3d.training.memory_estimate import check_memory, training_memory

DATA_BYTES = 10**6
SPECS = st.builds(
    WideResNetSpec,
    st.sampled_from([10, 16, 28]),
    st.integers(1, 10),
    st.sampled_from([0.0, 0.3]),
    shortcut=st.sampled_from(["pad", "projection"]),
)


def have(patch, available, resident=0, gpu=False):
    """Make the machine appear to have this much memory, in bytes."""
    patch.setattr(memory_estimate, "available_memory", lambda: available)
    patch.setattr(memory_estimate, "resident_memory", lambda: resident)
    patch.setattr(memory_estimate, "has_gpu", lambda: gpu)


@given(SPECS, st.integers(1, 4096), st.integers(10**6, 10**12), st.sampled_from([0.0, 0.9]))
def test_the_named_batch_size_is_the_largest_that_fits(spec, batch_size, available, momentum):
    def check(batch_size):
        config = TrainingConfig(batch_size=batch_size, momentum=momentum)
        check_memory(spec, config, DATA_BYTES)

    with pytest.MonkeyPatch.context() as patch:
        have(patch, available, resident=10**8)
        try:
            check(batch_size)
        except NotEnoughMemoryError as error:
            named = re.search(r"batch_size (\d+) would fit", str(error))
            if named:
                assert 0 < int(named[1]) < batch_size
                check(int(named[1]))
            else:
                assert str(error).endswith("not even one image fits, so choose a smaller network")
            with pytest.raises(NotEnoughMemoryError):
                check(int(named[1]) + 1 if named else 1)


def test_workers_on_one_machine_share_its_memory(monkeypatch):
    spec, config = WideResNetSpec(16, 4), TrainingConfig(batch_size=128)
    have(monkeypatch, 1.5 * training_memory(spec, config, DATA_BYTES, 2).total)
    check_memory(spec, config, DATA_BYTES, workers=2, here=1)
    with pytest.raises(NotEnoughMemoryError, match="in each worker, but .* are free for each"):
        check_memory(spec, config, DATA_BYTES, workers=2, here=2)


def test_a_gpu_has_memory_of_its_own(monkeypatch):
    have(monkeypatch, 0, gpu=True)
    check_memory(WideResNetSpec(28, 10), TrainingConfig(batch_size=4096), DATA_BYTES)


def test_too_large_a_batch_is_refused_before_anything_is_built(front_end):
    process = run_script(
        front_end,
        *["--dataset", "digits", "--depth", "40", "--widen-factor", "20", "--batch-size", "1500"],
    )
    assert process.returncode == 1
    assert re.fullmatch(
        r"error: training WRN-40-20 with batches of 1500 takes about \d+\.\d\d GiB "
        r"of memory, but \d+\.\d\d GiB are free: batch_size \d+ would fit\n",
        process.stderr,
    )


@pytest.mark.slow
def test_the_estimate_is_near_what_training_takes(front_end):
    process = run_python(
        f"{SCRIPTS[front_end]}.py",
        *["--dataset", "digits", "--depth", "16", "--widen-factor", "2", "--batch-size", "256"],
        *["--momentum", "0.9", "--iterations", "3"],
    )
    estimated = float(re.search(r"about (\S+) GiB at most", process.stdout)[1])
    measured = float(re.search(r"at most (\S+) GiB of memory", process.stdout)[1])
    assert 0.8 < estimated / measured < 1.25
