"""Cores and ports for the workers on one machine."""

import os
from collections import Counter
from itertools import chain

import pytest

from wrn3d.launch.resources import cores_of, free_ports, visible_gpus


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 8, 11])
def test_the_cores_are_divided(count, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 3, 7})
    parts = [cores_of(index, count) for index in range(count)]
    users = Counter(chain.from_iterable(parts))
    assert set(users) == {0, 2, 3, 7} and max(users.values()) - min(users.values()) <= 1
    assert all(parts) and (count > 4 or sum(map(len, parts)) == 4)


def test_the_ports_are_different():
    assert len(set(free_ports(20))) == 20


@pytest.mark.parametrize("value, names", [("", []), ("3,GPU-a", ["3", "GPU-a"])])
def test_the_user_chooses_the_gpus(value, names, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == names
