"""Checkpoint files that were damaged, or come from elsewhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.runs import small_checkpoint
from wrn3d import Checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint's file, and its size in bytes."""
    path = tmp_path_factory.mktemp("saved") / "x"
    small_checkpoint(path, {"seed": 0})
    return path


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_checkpoint_with_a_flipped_bit_or_cut_short_is_refused(saved, data):
    whole = saved.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    damaged = saved.with_name("damaged")
    for content in (bytes(flipped), whole[:position]):
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match="damaged is no checkpoint that can be read"):
            Checkpoint.load(damaged)
    assert Checkpoint.load(saved).iteration == 7


def test_a_checkpoint_of_a_newer_format_says_so(saved, monkeypatch):
    newer = saved.with_name("newer")
    monkeypatch.setattr("wrn3d.training.checkpoint.FORMAT", 9)
    Checkpoint({}).save(newer)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="its format is 9, and 3 is what is read: it is another"):
        Checkpoint.load(newer)
