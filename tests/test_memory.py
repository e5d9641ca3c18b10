"""How much memory there is, and what training takes of it."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.environments import SCRIPTS, small_environment
from tests.support.processes import run_python, run_script
from wrn3d import WideResNetSpec
from wrn3d.system import memory
from wrn3d.system.errors import NotEnoughMemoryError
from wrn3d.training import memory_estimate
from wrn3d.training.config import TrainingConfig

SPECS = st.builds(
    WideResNetSpec,
    st.sampled_from([10, 16, 28]),
    st.integers(1, 10),
    st.sampled_from([0.0, 0.3]),
    shortcut=st.sampled_from(["pad", "projection"]),
)


@given(SPECS, st.integers(1, 4096), st.integers(10**6, 10**12), st.sampled_from([0.0, 0.9]))
def test_the_batch_size_that_is_named_fits_and_no_larger_one(spec, batch_size, free, momentum):
    def check(batch_size):
        config = TrainingConfig(batch_size=batch_size, momentum=momentum)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory_estimate, "available_memory", lambda: free)
            patch.setattr(memory_estimate, "resident_memory", lambda: 10**8)
            patch.setattr(memory_estimate, "has_gpu", lambda: False)
            memory_estimate.check_memory(spec, config, data_bytes=10**6)

    try:
        check(batch_size)
    except NotEnoughMemoryError as error:
        named = re.search(r"batch_size (\d+) would fit", str(error))
        if named:
            assert 0 < int(named[1]) < batch_size
            check(int(named[1]))
            with pytest.raises(NotEnoughMemoryError):
                check(int(named[1]) + 1)
        else:
            assert str(error).endswith("not even one image fits, so choose a smaller network")
            with pytest.raises(NotEnoughMemoryError):
                check(1)


def test_too_large_a_batch_is_refused_before_anything_is_built(front_end):
    process = run_script(
        front_end,
        "--dataset",
        "digits",
        "--depth",
        "40",
        "--widen-factor",
        "20",
        "--batch-size",
        "1500",
    )
    assert process.returncode == 1
    assert re.fullmatch(
        r"error: training WRN-40-20 with batches of 1500 takes about \d+\.\d\d GiB "
        r"of memory, but \d+\.\d\d GiB are free: batch_size \d+ would fit\n",
        process.stderr,
    )


def test_the_estimate_is_near_what_training_takes(front_end):
    process = run_python(
        f"{SCRIPTS[front_end]}.py",
        "--dataset",
        "digits",
        "--depth",
        "16",
        "--widen-factor",
        "2",
        "--batch-size",
        "256",
        "--momentum",
        "0.9",
        "--iterations",
        "3",
    )
    estimated = float(re.search(r"about (\S+) GiB at most", process.stdout)[1])
    measured = float(re.search(r"at most (\S+) GiB of memory", process.stdout)[1])
    assert 0.8 < estimated / measured < 1.25


def test_the_peak_is_the_process_own():
    """Not that of a larger one that has started it."""
    code = "from wrn3d.system.memory import peak_memory; print(peak_memory())"
    large = np.ones(2**27)  # 1 GiB
    assert memory.peak_memory() > large.nbytes
    assert int(run_python("-c", code).stdout) < 2**28


def test_workers_on_one_machine_share_its_memory(monkeypatch):
    spec, config = WideResNetSpec(16, 4), TrainingConfig(batch_size=128)
    needed = memory_estimate.training_memory(spec, config, 10**6, 2).total
    monkeypatch.setattr(memory_estimate, "available_memory", lambda: 1.5 * needed)
    monkeypatch.setattr(memory_estimate, "resident_memory", lambda: 0)
    monkeypatch.setattr(memory_estimate, "has_gpu", lambda: False)
    memory_estimate.check_memory(spec, config, 10**6, workers=2, here=1)
    with pytest.raises(NotEnoughMemoryError, match="in each worker, but .* are free for each"):
        memory_estimate.check_memory(spec, config, 10**6, workers=2, here=2)


def test_a_gpu_has_memory_of_its_own(monkeypatch):
    monkeypatch.setattr(memory_estimate, "available_memory", lambda: 0)
    monkeypatch.setattr(memory_estimate, "has_gpu", lambda: True)
    memory_estimate.check_memory(
        WideResNetSpec(28, 10), TrainingConfig(batch_size=4096), data_bytes=10**6
    )


GROUPS = [
    # Version 2: the group around it has less left; what was read from files makes room.
    (
        "0::/job:1/step\n",
        {
            "job:1/step": ("memory.max", 900, "memory.current", 100),
            "job:1": ("memory.max", 500, "memory.current", 300),
        },
        300,
    ),
    ("0::/job\n", {"job": ("memory.max", "max", "memory.current", 100)}, None),
    # In a container, where the group's own folder is the root.
    ("0::/\n", {"": ("memory.max", 500, "memory.current", 300)}, 300),
    # Version 1.
    (
        "3:cpu:/x\n12:hugetlb,memory:/slurm/job\n",
        {
            "memory/slurm": ("memory.limit_in_bytes", 400, "memory.usage_in_bytes", 350),
            "memory": ("memory.limit_in_bytes", 2**63, "memory.usage_in_bytes", 350),
        },
        150,
    ),
]


@pytest.mark.parametrize("membership, groups, left", GROUPS)
def test_what_control_groups_leave(tmp_path, membership, groups, left):
    (tmp_path / "cgroup").write_text(membership)
    for name, (limit, most, usage, used) in groups.items():
        folder = tmp_path / "fs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{most}\n")
        (folder / usage).write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 7\ninactive_file 100\ntotal_inactive_file 100\n")
    found = memory._left_in_groups(tmp_path / "cgroup", tmp_path / "fs")
    assert min(found, default=None) == left


def test_memory_that_runs_out_in_an_evaluation_is_one_sentence():
    import tensorflow as tf

    env = small_environment("keras")
    env.logits = lambda volumes: tf.zeros([1 << 24, 1 << 24])
    with pytest.raises(
        NotEnoughMemoryError,
        match="no memory left for evaluation with a batch of 200: close other programs",
    ):
        env.evaluate()


def test_memory_that_runs_out_is_one_sentence():
    import tensorflow as tf

    env = small_environment("tensorlayer")
    env.train_batch = lambda *batch: tf.zeros([1 << 24, 1 << 24])  # what TensorFlow itself raises
    with pytest.raises(
        NotEnoughMemoryError,
        match="no memory left for training with a batch of 32: batch_size 16 may fit",
    ):
        env.step()
    assert (env.iteration, env.index_in_epoch) == (0, 0)
