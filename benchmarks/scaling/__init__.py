"""Measure the cost of several workers on this machine, and predict it for many.

    python -m benchmarks.scaling

`turn` is one worker, `measurements` starts them, `model` predicts the time of a step, `report` and
`picture` show both.
"""
