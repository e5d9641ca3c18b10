"""Measure what shards gain or cost on this machine.

    python -m benchmarks.shards

`ways` lets processes train by turns, `report` shows the ratios.
"""
