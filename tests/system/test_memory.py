"""How much memory there is, and running out of it."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.environments import small_environment
from tests.support.processes import run_python
from wrn3d.system import memory
from wrn3d.system.errors import NotEnoughMemoryError


def test_the_peak_is_the_process_own():
    """Check that a larger parent process does not count."""
    code = "from wrn3d.system.memory import peak_memory; print(peak_memory())"
    large = np.ones(2**26)  # 512 MiB
    assert memory.peak_memory() > large.nbytes
    assert int(run_python("-c", code).stdout) < large.nbytes / 2


@pytest.mark.parametrize(
    "error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM")]
)
def test_running_out_of_memory_is_one_sentence(error, monkeypatch):
    def fail(*arguments):
        raise error

    env = small_environment("tensorlayer")
    monkeypatch.setattr(env, "train_batch", fail)
    monkeypatch.setattr(env, "logits", fail)
    with pytest.raises(
        NotEnoughMemoryError, match="for evaluation with a batch of 200: close other programs"
    ):
        env.evaluate()
    with pytest.raises(
        NotEnoughMemoryError, match="for training with a batch of 32: batch_size 16 may fit"
    ):
        env.step()
    assert (env.iteration, env.index_in_epoch) == (0, 0)


@pytest.mark.slow
def test_tensorflows_own_failure_is_recognised():
    with pytest.raises(NotEnoughMemoryError), memory.enough_for(1):
        tf.zeros([1 << 24, 1 << 24])  # TensorFlow tries for ten seconds


GROUPS = [
    # Version 2: the outer group has less left. The kernel can drop the file cache.
    (
        "0::/job:1/step\n",
        {
            "job:1/step": ("memory.max", 900, "memory.current", 100),
            "job:1": ("memory.max", 500, "memory.current", 300),
        },
        300,
    ),
    ("0::/job\n", {"job": ("memory.max", "max", "memory.current", 100)}, None),
    # In a container the group's own folder is the root.
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
def test_control_groups_limit_the_memory(tmp_path, membership, groups, left):
    (tmp_path / "cgroup").write_text(membership)
    for name, (limit, most, usage, used) in groups.items():
        folder = tmp_path / "fs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{most}\n")
        (folder / usage).write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 7\ninactive_file 100\ntotal_inactive_file 100\n")
    limits = memory._left_in_control_groups(tmp_path / "cgroup", tmp_path / "fs")
    assert min(limits, default=None) == left
