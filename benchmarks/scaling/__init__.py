"""Measure the cost of several workers on this machine, and predict it for many.

    python -m benchmarks.scaling

`workers` measures, `model` predicts the time of a step, `report` shows both.
"""
