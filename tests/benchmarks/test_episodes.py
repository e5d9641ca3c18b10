"""`python -m benchmarks.episodes`, on a small network."""

import re

import pytest

from benchmarks import episodes


@pytest.mark.slow
def test_the_costs_are_measured(monkeypatch, capsys):
    make = episodes.make
    small = {"depth": 10, "widen_factor": 1, "batch_size": 16, "volume_size": 16}
    monkeypatch.setattr(episodes, "FRONT_ENDS", ("tensorlayer",))
    monkeypatch.setattr(episodes, "SETTLED", 2)
    monkeypatch.setattr(
        episodes, "make", lambda front_end, **settings: make(front_end, **settings | small)
    )
    episodes.measure(episodes.EpisodeCosts(rounds=1, resets=3))
    _, resets, rate, back = capsys.readouterr().out.splitlines()
    assert re.search(r"3 resets: \+0 graphs \(of [1-9]\d*\), [+-][\d.]+ MiB", resets)
    pattern = r"([\d.]+) iterations/s through Gymnasium, ([\d.]+) by bare step\(\): ([\d.]+)%"
    through, bare, share = map(float, re.search(pattern, rate).groups())
    assert share == pytest.approx(100 * through / bare, abs=0.1)
    assert re.search(r"a step \d+ ms, a snapshot [\d.]+ ms .* a restore [\d.]+ ms", back)
