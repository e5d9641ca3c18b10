"""Checkpoint files: what they keep, and which are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.support.runs import small_checkpoint
from wrn3d import Checkpoint
from wrn3d.system.errors import DataError
from wrn3d.training.checkpoint import is_checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the file of a checkpoint."""
    path = tmp_path_factory.mktemp("saved") / "x"
    small_checkpoint(path, {"seed": 0})
    return path


@pytest.mark.parametrize("shape", [(1, 60000, 1, 1, 1), (1, 2**20, 1, 1, 1), (2, 3, 1, 1, 1)])
def test_only_the_centre_of_a_kernel_of_three_slices_is_completed(tmp_path, shape):
    Checkpoint({"conv0": np.zeros(shape, np.float16)}).save(tmp_path / "x")
    assert Checkpoint.load(tmp_path / "x").weights["conv0"].shape == shape


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_checkpoint_with_a_flipped_bit_or_cut_short_is_refused(saved, data):
    whole = saved.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    damaged = saved.with_name("damaged")
    for content in (bytes(flipped), whole[:position]):
        damaged.write_bytes(content)
        with pytest.raises(DataError, match="damaged cannot be read as a checkpoint"):
            Checkpoint.load(damaged)
    assert Checkpoint.load(saved).iteration == 7


@pytest.mark.parametrize(
    "content", [b"", b"not safetensors", b"\xff" * 100, (1 << 60).to_bytes(8, "little") + b"{}"]
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="x cannot be read as a checkpoint"):
        Checkpoint.load(tmp_path / "x")
    assert not is_checkpoint(tmp_path / "x")


def test_safetensors_of_another_program_or_a_newer_format_are_refused(tmp_path, monkeypatch):
    save_file({"conv0": np.zeros(3)}, tmp_path / "x")
    with pytest.raises(DataError, match="it is a safetensors file that wrn3d did not write"):
        Checkpoint.load(tmp_path / "x")
    with monkeypatch.context() as patch:
        patch.setattr("wrn3d.training.checkpoint.FORMAT", 9)
        Checkpoint({}).save(tmp_path / "x")
    with pytest.raises(DataError, match="its format is 9, but this version reads format 3"):
        Checkpoint.load(tmp_path / "x")
    assert is_checkpoint(tmp_path / "x")


@pytest.mark.parametrize(
    "number, message",
    [
        ({"iteration": -1}, "iteration is -1, but must be a whole number from 0 up"),
        (
            {"learning_rate_scale": 2.0},
            "its learning_rate_scale is 2.0, but must be above 0, up to 1",
        ),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, number, message):
    Checkpoint({}, **number).save(tmp_path / "x")
    with pytest.raises(DataError, match=message):
        Checkpoint.load(tmp_path / "x")


def test_the_values_of_a_transposed_array_are_kept(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    Checkpoint({"x": array}).save(tmp_path / "x")
    assert np.array_equal(Checkpoint.load(tmp_path / "x").weights["x"], array)


def test_a_path_that_cannot_be_read_or_written_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="does not exist or is not a file: name a checkpoint"
    ):
        Checkpoint.load(tmp_path / "none.safetensors")
    for path, error, message in (
        (tmp_path, ValueError, "is a folder: name a file in it"),
        ("/proc/x", ValueError, "^/proc/x cannot be written .*: name another place"),
        (tmp_path / "none" / "x", FileNotFoundError, "none is not a folder: create it"),
    ):
        with pytest.raises(error, match=message):
            Checkpoint({}).save(path)
