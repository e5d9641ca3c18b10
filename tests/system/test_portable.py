"""Portable runs have the same bits on every CPU, such as an emulated one."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.support.processes import FROM_ANYWHERE, run_python
from wrn3d.system import machine, portable
from wrn3d.system.errors import UsageError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not {"avx2", "fma"} <= machine.cpu_flags() or machine.has_gpu(),
    reason="needs Linux on an x86 CPU with AVX2 and FMA, without a GPU",
)

# Trains two iterations on images and on volumes, and prints digests of the weights and logits; then
# of a convolution whose sums oneDNN cuts into other parts on other caches.
TRAIN = """
import hashlib
import numpy as np
from cifar_wide_resnet_tl import CNNEnv
from wrn3d.data import digits
from wrn3d.verify.trainings import MOMENTUM, NETWORK, digit_volumes

def print_digest(name, arrays):
    bits = b"".join(map(np.ndarray.tobytes, arrays))
    print(name, hashlib.blake2b(bits, digest_size=8).hexdigest())

def numbers(*shape):
    words = np.random.Philox(0).random_raw(np.prod(shape)).reshape(shape)
    return (words >> 40).astype(np.float32) / 2**24 - np.float32(0.5)

runs = {
    "images": (digits.load(), {"dropout": 0.3, "augment": True}),
    "volumes": (digit_volumes(), {"optimizer": "muon", "shortcut": "projection", "averaging": 0.9}),
}
for name, (data, settings) in runs.items():
    env = CNNEnv(data=data, portable=True, **NETWORK | MOMENTUM | settings)
    env.step()
    env.step()
    weights = env.get_weights()
    arrays = [weights[one] for one in sorted(weights)]
    arrays.append(env.predict(data.normalise(data.test_volumes[:10])))
    print_digest(name, arrays)
import tensorflow as tf
from wrn3d.network.convolution import conv3d
kernel = tf.Variable(numbers(3, 3, 3, 32, 32))
print_digest("convolution", [conv3d(tf.constant(numbers(1, 1, 96, 96, 32)), kernel).numpy()])
"""
# Recorded under qemu-x86_64 -cpu Haswell, and the same on an AMD EPYC with AVX-512. The emulated
# CPU has neither AVX-512 nor the EPYC's caches, and other approximate reciprocals.
RECORD = "images 05b117a2b555924b\nvolumes 4e6257c6abe65c49\nconvolution f3a462ce89aa0acd\n"
EMULATOR = shutil.which("qemu-x86_64")


@pytest.fixture
def supported(monkeypatch):
    """Make this process look like one that has not yet imported TensorFlow, on a CPU with AVX2."""
    monkeypatch.setattr(portable, "cpu_flags", lambda: {"avx2", "fma"})
    monkeypatch.setattr(portable, "_portable", False)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)


@pytest.mark.slow
def test_bits_are_those_of_another_cpu():
    process = run_python("-c", TRAIN, env=FROM_ANYWHERE)
    assert process.stdout == RECORD, process.stderr


@pytest.mark.soak
@pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64, of Debian's qemu-user")
def test_an_emulated_cpu_computes_the_same_bits():
    command = [EMULATOR, "-cpu", "Haswell", sys.executable, "-c", TRAIN]
    process = subprocess.run(command, env=FROM_ANYWHERE, capture_output=True, text=True)
    assert process.stdout == RECORD, process.stderr


@pytest.mark.slow
def test_a_process_computes_portably_or_not():
    code = (
        "from cifar_wide_resnet_tl import CNNEnv\n"
        "small = dict(dataset='digits', depth=10, widen_factor=1, batch_size=8, shards=2)\n"
        "CNNEnv(**small, portable=True); CNNEnv(**small)"
    )
    process = run_python("-c", code, env=FROM_ANYWHERE)
    assert "this process computes portably, so portable=False" in process.stderr


def test_portable_comes_before_the_import_of_tensorflow(supported, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UsageError, match="TensorFlow is imported already"):
        portable.choose_instructions(True)


@pytest.mark.parametrize(
    "place, value",
    [
        ("wrn3d.system.portable.cpu_flags", lambda: {"avx", "fma"}),
        ("sys.platform", "darwin"),
        ("platform.machine", lambda: "aarch64"),
    ],
)
def test_other_machines_are_refused(supported, monkeypatch, place, value):
    monkeypatch.setattr(place, value)
    with pytest.raises(UsageError, match="needs Linux on an x86 CPU with AVX2 and FMA"):
        portable.choose_instructions(True)


def test_resizing_needs_an_instruction_set_for_numpy(supported, monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    with pytest.raises(UsageError, match="set OPENBLAS_CORETYPE=Haswell before Python starts"):
        portable.choose_instructions(True, resizing=True)


def test_gpus_must_be_hidden(supported, monkeypatch):
    for name, value in portable.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(portable, "import_tensorflow", lambda: None)
    config = SimpleNamespace(list_physical_devices=lambda kind: [f"{kind}:0"])
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    with pytest.raises(UsageError, match="hide the GPUs with CUDA_VISIBLE_DEVICES=-1"):
        portable.choose_instructions(True)


def test_another_build_of_tensorflow_is_refused(tmp_path):
    with pytest.raises(UsageError, match="portable knows TensorFlow 2.21 alone"):
        portable._fix_cache_sizes(tmp_path / "libtensorflow_cc.so.2")
