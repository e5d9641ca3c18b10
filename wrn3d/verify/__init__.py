"""Verify that this machine computes rightly, and the bits that it is recorded to compute.

    python -m wrn3d.verify

`reference` has every op in plain NumPy, `rounding` the largest error that rounding explains,
`operations` the ops on their inputs, `trainings` small runs, `records` the recorded digests.
"""
